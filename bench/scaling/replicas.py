"""Measure one and two replicas of a server: as workers of one server."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.bundles import LITE0, repository
from bench.context import Bench
from bench.photos import digit, image_message, jpeg, pixels_224, tensor_message
from bench.registry import Measured
from bench.sampling import Sample, Samples
from bench.servers import Server, serving

__all__ = ["LOADS", "Load", "workers"]

PAIRS = 5
SECONDS = 2.5
# Over so many connections, the kernel divides the calls almost evenly between two workers.
CONNECTIONS = 32
# One replica computes and decodes on one core.
ONE_CORE = ("--runners", "1", "--threads", "1", "--decode-threads", "1")


@dataclass(frozen=True, slots=True)
class Load:
    """A load with one image per call.

    Args:
        model: The model.
        message: Makes the serialized request.
        in_flight: The number of concurrent calls.
    """

    model: str
    message: Callable[[], bytes]
    in_flight: int


LOADS = {
    "digits": Load("digits", lambda: tensor_message("digits", digit(), (28, 28, 1)), 64),
    "tensor": Load(LITE0, lambda: tensor_message(LITE0, pixels_224(), (224, 224, 3)), 32),
    "jpeg": Load(LITE0, lambda: image_message(LITE0, jpeg("500x375")), 32),
}


def workers(bench: Bench) -> Measured:
    """Measure calls per second of two workers, relative to one."""
    samples = {name: _compare(bench, load) for name, load in LOADS.items()}
    return Measured(
        {f"workers.{name}": each.ratio("two", "one") for name, each in samples.items()},
        {name: each.details() for name, each in samples.items()},
    )


def _compare(bench: Bench, load: Load) -> Samples:
    models, message = repository(bench, load.model), load.message()

    def rate(server: Server) -> Sample:
        return server.saturate(
            message,
            bench.scratch,
            in_flight=load.in_flight,
            seconds=bench.seconds(SECONDS),
            connections=CONNECTIONS,
        ).rate()

    with (
        serving(
            models, *ONE_CORE, "--workers", "1", tuning_cache=bench.scratch / "one.json"
        ) as one,
        serving(
            models, *ONE_CORE, "--workers", "2", tuning_cache=bench.scratch / "two.json"
        ) as two,
    ):
        return bench.interleave(PAIRS, one=lambda: rate(one), two=lambda: rate(two))
