"""Measure the cost of unrequested feature maps and the bandwidth of requested ones."""

from bench.bundles import LITE0, repository, with_plain_copy
from bench.calls import feature_map_bytes
from bench.context import Bench
from bench.photos import image_message, jpeg, pixels_224, tensor_message
from bench.reference import cores
from bench.registry import Measured, measurement
from bench.sampling import Sample, scaled
from bench.servers import serving
from convscope.v1 import inference_pb2 as pb

IN_FLIGHT = 32
MAPS = ("blocks.0", "blocks.2", "blocks.4", "blocks.6")


@measurement("feature_map_idle_cost")
def feature_map_idle_cost(bench: Bench) -> Measured:
    """Measure images per second with unrequested feature maps, relative to a bundle without."""
    models, plain = with_plain_copy(bench, LITE0)
    messages = {m: tensor_message(m, pixels_224(), (224, 224, 3)) for m in (LITE0, plain)}
    seconds = bench.seconds(2.0)
    # The same for both models, so that only the feature maps differ.
    alike = ("--runners", str(cores()), "--threads", "1", "--max-batch", "1")
    with serving(models, *alike, tuning_cache=bench.tuning_cache) as server:

        def speed(model: str) -> Sample:
            return server.saturate(
                messages[model], bench.scratch, in_flight=IN_FLIGHT, seconds=seconds
            ).rate()

        samples = bench.interleave(with_maps=lambda: speed(LITE0), without=lambda: speed(plain))
    return Measured(
        {"feature_map_idle_cost": samples.ratio("with_maps", "without")},
        {"images_per_second": samples.details()},
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

        def speed() -> Sample:
            loop = server.saturate(message, bench.scratch, in_flight=8, seconds=bench.seconds(2.0))
            return scaled(loop.rate(), size / 1e6)

        samples = bench.interleave(megabytes_per_second=speed)
    return Measured(
        {"feature_map_bandwidth_mb_s": samples.level("megabytes_per_second")},
        {"bytes_of_a_reply": size, "maps": MAPS, **samples.details()},
    )
