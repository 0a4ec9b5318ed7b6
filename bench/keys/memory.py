"""Measure how memory grows: over many requests, and with many large ones at once."""

import threading
from contextlib import suppress

from bench.bundles import LITE0, repository
from bench.context import Bench
from bench.loads import counted
from bench.memory import resident_mb, slope
from bench.photos import digit, image_message, jpeg, pixels_224, tensor_message
from bench.registry import Measured, measurement
from bench.sampling import Figure, figure
from bench.servers import Server, serving
from convscope.v1 import inference_pb2 as pb

REQUESTS = 30_000
ROUNDS = 25
# The first rounds fill pools and caches, which is not counted as growth.
SETTLING = 5
LARGE_CALLS = 500
LARGE_BYTES = 8_000_000
LARGE_REPETITIONS = 3
SAMPLE_SECONDS = 0.01


@measurement("memory_slope")
def memory_slope(bench: Bench) -> Measured:
    """Measure the growth of the server over 30,000 requests of all kinds, including errors."""
    per_round = bench.count(REQUESTS) // ROUNDS
    sent, memory = [0], []
    models = repository(bench, "digits", LITE0)
    with serving(models, "--preload-feature-maps", tuning_cache=bench.tuning_cache) as server:
        memory.append(resident_mb(server.process.pid))
        for _ in range(ROUNDS):
            sent.append(sent[-1] + _round(server, bench, per_round))
            memory.append(resident_mb(server.process.pid))
    growth = slope(sent[SETTLING:], memory[SETTLING:])
    return Measured(
        {
            "memory_slope_mb_per_10k": Figure(growth * 10_000),
            "memory_growth_mb": Figure(memory[-1] - memory[SETTLING]),
        },
        {"requests": sent, "resident_mb": memory},
    )


def _round(server: Server, bench: Bench, count: int) -> int:
    """Send a round of requests and return their number."""
    maps = [pb.FeatureMapSelection(name="conv2")]
    shape = (28, 28, 1)
    shares = {
        tensor_message("digits", digit(), shape): 0.86,
        image_message("digits", jpeg("500x375")): 0.05,
        tensor_message("digits", digit(), shape, feature_maps=maps): 0.05,
        image_message("digits", b"not an image"): 0.02,
        image_message("no_such_model", b""): 0.01,
        tensor_message(LITE0, pixels_224(), (224, 224, 3)): 0.01,
    }
    done = 0
    for message, share in shares.items():
        number = max(8, round(share * count))
        answered = counted(server.request(message), bench.scratch, in_flight=8, calls=number)
        done += answered.succeeded
    return done


@measurement("rss_at_500_large_calls_mb")
def large_calls(bench: Bench) -> Measured:
    """Measure the growth at the peak while 500 calls of 8 MB are in flight.

    The server rejects most of them, because they do not fit into the memory in flight.
    """
    message = image_message(LITE0, _large_photo())
    growth: list[float] = []
    classified: list[float] = []
    for _ in range(1 if bench.quick else LARGE_REPETITIONS):
        with serving(repository(bench, LITE0), tuning_cache=bench.tuning_cache) as server:
            before = resident_mb(server.process.pid)
            with _Peak(server.process.pid) as peak:
                counted(
                    server.request(message),
                    bench.scratch,
                    in_flight=LARGE_CALLS,
                    calls=LARGE_CALLS,
                )
            growth.append(peak.megabytes - before)
            classified.append(server.answered()["OK"])
    return Measured(
        {"rss_at_500_large_calls_mb": figure(growth)},
        {"growth_mb": growth, "bytes_of_a_photo": LARGE_BYTES, "classified": classified},
    )


def _large_photo() -> bytes:
    """Return a JPEG of 12 megapixels with zeros at its end, which decoders ignore."""
    photo = jpeg("4000x3000")
    return photo + bytes(LARGE_BYTES - len(photo))


class _Peak:
    """The largest resident memory of a process during a with block."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            with suppress(FileNotFoundError, ProcessLookupError):  # a child ended meanwhile
                self.megabytes = max(self.megabytes, resident_mb(self._pid))
