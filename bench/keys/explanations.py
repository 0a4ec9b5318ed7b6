"""Measure the cost of explanations."""

from collections.abc import Callable

from bench.bundles import LITE0, repository
from bench.context import Bench
from bench.photos import pixels_224, tensor_message
from bench.registry import Measured, measurement
from bench.sampling import Sample
from bench.servers import serving
from convscope.v1 import inference_pb2 as pb

IN_FLIGHT = 4
SHAPE = (224, 224, 3)
FEW = 5


@measurement(f"explain_cost.{LITE0}")
def efficientnet_lite0(bench: Bench) -> Measured:
    """Measure the server's CPU time for explained calls, relative to calls without."""
    return _cost(bench, LITE0)


@measurement("explain_cost.resnet50")
def resnet50(bench: Bench) -> Measured:
    """Measure the same with a large network that ends in a pooled head."""
    return _cost(bench, "resnet50")


@measurement("explain_cost.vgg11")
def vgg11(bench: Bench) -> Measured:
    """Measure the same with a network that ends in large dense layers."""
    return _cost(bench, "vgg11")


def _cost(bench: Bench, model: str) -> Measured:
    seconds = bench.seconds(2.0)
    with serving(repository(bench, model), tuning_cache=bench.tuning_cache) as server:

        def explained(classes: int) -> Callable[[], Sample]:
            selections = [
                pb.ExplanationSelection(target=pb.ClassTarget(rank=rank))
                for rank in range(1, classes + 1)
            ]
            message = tensor_message(model, pixels_224(), SHAPE, explanations=selections)
            return lambda: server.saturate(
                message, bench.scratch, in_flight=IN_FLIGHT, seconds=seconds
            ).rate()

        samples = bench.interleave(plain=explained(0), one=explained(1), five=explained(FEW))
    return Measured(
        {
            f"explain_cost.{model}": samples.ratio("one", "plain", _cpu_us),
            f"explain_five_cost.{model}": samples.ratio("five", "one", _cpu_us),
        },
        {"images_per_second": samples.details()},
    )


def _cpu_us(sample: Sample) -> float | None:
    return sample.cpu_us
