"""Measure whether memory stays constant."""

from bench.bundles import LITE0, repository
from bench.context import Bench
from bench.loads import counted
from bench.memory import resident_mb, slope
from bench.photos import digit, image_message, jpeg, pixels_224, tensor_message
from bench.registry import Measured, measurement
from bench.servers import Server, serving
from convscope.v1 import inference_pb2 as pb

REQUESTS = 50_000
ROUNDS = 25
# The first rounds fill pools and caches, which is not counted as growth.
SETTLING = 5


@measurement("memory_slope")
def memory_slope(bench: Bench) -> Measured:
    """Measure the growth of the server over 50,000 requests of all kinds, including errors."""
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
            "memory_slope_mb_per_10k": growth * 10_000,
            "memory_growth_mb": memory[-1] - memory[SETTLING],
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
