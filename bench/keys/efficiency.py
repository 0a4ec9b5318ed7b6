"""Measure how much of ONNX Runtime's speed remains in the server."""

from statistics import median

from bench.bundles import repository
from bench.context import Bench, interleave, ratio
from bench.loads import median_latency
from bench.photos import pixels_224, tensor_message
from bench.reference import Setting, best_setting, cores, run_inprocess
from bench.registry import Measured, measurement
from bench.servers import Server, serving

IN_FLIGHT = 32
MODELS = ("resnet50", "efficientnet_lite0")


@measurement("tensor_efficiency")
def tensor_efficiency(bench: Bench) -> Measured:
    """Measure images per second served, relative to the fastest setting in process."""
    measured = {model: _efficiency(bench, model) for model in MODELS}
    return Measured(
        {"tensor_efficiency": {model: m["ratio"] for model, m in measured.items()}}, measured
    )


def _efficiency(bench: Bench, model: str) -> dict[str, object]:
    setting, tried = best_setting(bench, model)
    message = tensor_message(model, pixels_224(), (224, 224, 3))
    seconds = bench.seconds(5.0)
    with serving(repository(bench, model), tuning_cache=bench.tuning_cache) as server:

        def served() -> float:
            return server.saturate(
                message, bench.scratch, in_flight=IN_FLIGHT, seconds=seconds, warm_up=1.0
            ).per_second

        def in_process() -> float:
            return run_inprocess(bench, model, setting, seconds)["images_per_second"]

        samples = interleave(bench.repetitions, served=served, in_process=in_process)
    return {
        "ratio": ratio(samples, "served", "in_process"),
        "images_per_second": samples,
        "in_process_setting": f"{setting.callers}x{setting.threads} batch {setting.batch}",
        "in_process_tried": tried,
    }


@measurement("latency_overhead_ms")
def latency_overhead(bench: Bench) -> Measured:
    """Measure the median latency of one call in flight, minus that in process with all threads."""
    model = "efficientnet_lite0"
    message = tensor_message(model, pixels_224(), (224, 224, 3))
    seconds, alone = bench.seconds(3.0), Setting(threads=cores(), callers=1, batch=1)
    with serving(repository(bench, model), tuning_cache=bench.tuning_cache) as server:
        samples = interleave(
            bench.repetitions,
            served_ms=lambda: _served_ms(server, bench, message, seconds),
            in_process_ms=lambda: (
                1000 * run_inprocess(bench, model, alone, seconds)["median_seconds"]
            ),
        )
    overhead = median(samples["served_ms"]) - median(samples["in_process_ms"])
    return Measured({"latency_overhead_ms": {model: overhead}}, {"median": samples})


def _served_ms(server: Server, bench: Bench, message: bytes, seconds: float) -> float:
    before = server.answered()
    answered, latency = median_latency(server.request(message), bench.scratch, seconds=seconds)
    server.check(before, answered)
    return 1000 * latency
