"""Measure how much of ONNX Runtime's speed remains in the server."""

from bench.bundles import LITE0, repository
from bench.context import Bench
from bench.photos import pixels_224, tensor_message
from bench.reference import fastest, most_responsive, run_inprocess
from bench.registry import Measured, measurement
from bench.sampling import Sample
from bench.servers import serving

IN_FLIGHT = 32
PAIRS = 5
SHAPE = (224, 224, 3)


@measurement("tensor_efficiency.resnet50")
def resnet50(bench: Bench) -> Measured:
    """Measure images per second served, relative to the fastest setting in process."""
    return _efficiency(bench, "resnet50")


@measurement("tensor_efficiency.efficientnet_lite0")
def efficientnet_lite0(bench: Bench) -> Measured:
    """Measure the same with a smaller network."""
    return _efficiency(bench, LITE0)


def _efficiency(bench: Bench, model: str) -> Measured:
    setting, tried = fastest(bench, model)
    message = tensor_message(model, pixels_224(), SHAPE)
    seconds = bench.seconds(2.5)
    with serving(repository(bench, model), tuning_cache=bench.tuning_cache) as server:

        def served() -> Sample:
            return server.saturate(
                message, bench.scratch, in_flight=IN_FLIGHT, seconds=seconds
            ).rate()

        def in_process() -> Sample:
            return run_inprocess(bench, model, setting, seconds).rate()

        samples = bench.interleave(PAIRS, served=served, in_process=in_process)
    return Measured(
        {f"tensor_efficiency.{model}": samples.ratio("served", "in_process")},
        {
            "images_per_second": samples.details(),
            "in_process_setting": str(setting),
            "in_process_tried": tried,
        },
    )


@measurement("lone_latency_ratio")
def lone_latency(bench: Bench) -> Measured:
    """Measure the median latency of one call in flight, relative to the best in process."""
    setting, tried = most_responsive(bench, LITE0)
    message = tensor_message(LITE0, pixels_224(), SHAPE)
    seconds = bench.seconds(1.5)
    with serving(repository(bench, LITE0), tuning_cache=bench.tuning_cache) as server:

        def served() -> Sample:
            return server.saturate(
                message, bench.scratch, in_flight=1, seconds=seconds
            ).latency_ms()

        def in_process() -> Sample:
            return run_inprocess(bench, LITE0, setting, seconds).latency_ms()

        samples = bench.interleave(PAIRS, served=served, in_process=in_process)
    return Measured(
        {f"lone_latency_ratio.{LITE0}": samples.ratio("served", "in_process")},
        {
            "median_ms": samples.details(),
            "in_process_setting": str(setting),
            "in_process_tried": tried,
        },
    )
