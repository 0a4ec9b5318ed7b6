"""Measure how overload of one model affects the callers of another."""

from typing import Any

from bench.background import meanwhile
from bench.bundles import LITE0, with_plain_copy
from bench.context import Bench
from bench.loads import closed_loop
from bench.openloads import Outcome, opened, recording
from bench.photos import pixels_224, tensor_message
from bench.registry import Measured, measurement
from bench.servers import serving
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
    seconds = bench.seconds(5.0)
    outcomes: dict[str, list[dict[str, Any]]] = {"quiet": [], "flooded": []}
    with serving(models, tuning_cache=bench.tuning_cache) as server:

        def interactive() -> Outcome:
            return opened(
                server,
                quiet_message,
                bench.scratch,
                rate=RATE,
                seconds=seconds,
                deadline_seconds=DEADLINE_SECONDS,
            )

        def flood() -> None:
            closed_loop(
                server.request(flood_message),
                bench.scratch,
                server=[server.process.pid],
                in_flight=FLOOD_IN_FLIGHT,
                seconds=seconds + 2.0,
            )

        def interactive_in_flood() -> Outcome:
            with meanwhile(flood):
                return interactive()

        samples = bench.interleave(
            quiet=recording(outcomes["quiet"], interactive, Outcome.p99_ms),
            flooded=recording(outcomes["flooded"], interactive_in_flood, Outcome.p99_ms),
        )
    return Measured(
        {"fairness_p99_ratio": samples.ratio("flooded", "quiet")},
        {
            "p99_ms": samples.details(),
            **outcomes,
            "interactive_rate": RATE,
            "flood": FLOOD_IN_FLIGHT,
        },
    )


def _priority(name: str) -> dict[str, Any]:
    """Return the request's priority, if the protocol has one."""
    field = pb.ClassifyRequest.DESCRIPTOR.fields_by_name.get("priority")
    if field is None or field.enum_type is None:
        return {}
    return {"priority": field.enum_type.values_by_name[f"PRIORITY_{name}"].number}
