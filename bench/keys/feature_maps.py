"""Measure the cost of unrequested feature maps and the bandwidth of requested ones."""

from statistics import median

from bench.bundles import LITE0, repository, with_plain_copy
from bench.calls import feature_map_bytes
from bench.context import Bench, interleave, ratio
from bench.photos import image_message, jpeg, pixels_224, tensor_message
from bench.reference import cores
from bench.registry import Measured, measurement
from bench.servers import serving
from convscope.v1 import inference_pb2 as pb

IN_FLIGHT = 32
MAPS = ("blocks.0", "blocks.2", "blocks.4", "blocks.6")


@measurement("feature_map_idle_cost")
def feature_map_idle_cost(bench: Bench) -> Measured:
    """Measure images per second with unrequested feature maps, relative to a bundle without."""
    models, plain = with_plain_copy(bench, LITE0)
    messages = {m: tensor_message(m, pixels_224(), (224, 224, 3)) for m in (LITE0, plain)}
    seconds = bench.seconds(3.0)
    # The same for both models, so that only the feature maps differ.
    alike = ("--runners", str(cores()), "--threads", "1", "--max-batch", "1")
    with serving(models, *alike, tuning_cache=bench.tuning_cache) as server:

        def speed(model: str) -> float:
            return server.saturate(
                messages[model], bench.scratch, in_flight=IN_FLIGHT, seconds=seconds
            ).per_second

        repetitions = bench.repetitions + (0 if bench.quick else 2)
        samples = interleave(
            repetitions, with_maps=lambda: speed(LITE0), without=lambda: speed(plain)
        )
    return Measured(
        {"feature_map_idle_cost": ratio(samples, "with_maps", "without")},
        {"images_per_second": samples},
    )


@measurement("feature_map_bandwidth_mb_s")
def feature_map_bandwidth(bench: Bench) -> Measured:
    """Measure the feature-map bytes per second that reach the client, in units of 10^6."""
    selections = [pb.FeatureMapSelection(name=name) for name in MAPS]
    message = image_message(LITE0, jpeg("500x375"), feature_maps=selections)
    with serving(
        repository(bench, LITE0), "--preload-feature-maps", tuning_cache=bench.tuning_cache
    ) as server:
        size = feature_map_bytes(server.target, message)
        samples = interleave(
            bench.repetitions,
            calls_per_second=lambda: (
                server.saturate(
                    message, bench.scratch, in_flight=8, seconds=bench.seconds(3.0), warm_up=1.0
                ).per_second
            ),
        )
    speed = median(samples["calls_per_second"]) * size / 1e6
    return Measured(
        {"feature_map_bandwidth_mb_s": speed},
        {"bytes_of_a_reply": size, "maps": MAPS, **samples},
    )
