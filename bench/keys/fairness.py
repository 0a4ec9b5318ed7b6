"""Measure how overload of one model affects the callers of another."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.bundles import LITE0, with_plain_copy
from bench.context import Bench
from bench.errors import BenchError
from bench.loads import closed_loop
from bench.openloads import opened
from bench.photos import pixels_224, tensor_message
from bench.registry import Measured, measurement
from bench.servers import Server, serving
from convscope.v1 import inference_pb2 as pb

RATE = 20.0
DEADLINE_SECONDS = 5.0
FLOOD_IN_FLIGHT = 64
SHAPE = (224, 224, 3)


@measurement("fairness_p99_ratio")
def fairness(bench: Bench) -> Measured:
    """Measure the interactive p99 while another model has bulk overload, relative to no load."""
    models, flooded = with_plain_copy(bench, LITE0)
    quiet_message = tensor_message(LITE0, pixels_224(), SHAPE, **_priority("INTERACTIVE"))
    flood_message = tensor_message(flooded, pixels_224(), SHAPE, **_priority("BULK"))
    seconds = bench.seconds(10.0)

    def interactive(server: Server) -> dict[str, Any]:
        answer = opened(
            server,
            quiet_message,
            bench.scratch,
            rate=RATE,
            seconds=seconds,
            deadline_seconds=DEADLINE_SECONDS,
        )
        if answer["p99_seconds"] is None:
            raise BenchError(f"no interactive call succeeded: {answer['codes']}")
        return answer

    with serving(models, tuning_cache=bench.tuning_cache) as server:
        quiet = interactive(server)
        with _flood(server, flood_message, bench, seconds + 3.0):
            busy = interactive(server)
    return Measured(
        {"fairness_p99_ratio": busy["p99_seconds"] / quiet["p99_seconds"]},
        {"quiet": quiet, "flooded": busy, "interactive_rate": RATE, "flood": FLOOD_IN_FLIGHT},
    )


@contextmanager
def _flood(server: Server, message: bytes, bench: Bench, seconds: float) -> Iterator[None]:
    """Keep one model overloaded for the duration of a with block."""
    errors: list[BenchError] = []

    def run() -> None:
        try:
            closed_loop(
                server.request(message), bench.scratch, in_flight=FLOOD_IN_FLIGHT, seconds=seconds
            )
        except BenchError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


def _priority(name: str) -> dict[str, Any]:
    """Return the request's priority, if the protocol has one."""
    field = pb.ClassifyRequest.DESCRIPTOR.fields_by_name.get("priority")
    if field is None or field.enum_type is None:
        return {}
    return {"priority": field.enum_type.values_by_name[f"PRIORITY_{name}"].number}
