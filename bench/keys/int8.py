"""Measure INT8 against FP32: images per second, and the best classes that are kept.

ResNet-50 and MobileNetV2 have random weights, which don't change their speed.
"""

import json
from pathlib import Path
from typing import Any

from bench.bundles import LITE0, bundle, plain_graph
from bench.context import ROOT, Bench
from bench.cpu import Watch
from bench.errors import BenchError
from bench.explained_photos import found, missing
from bench.lesson import LESSONS, Lesson, train
from bench.photos import pixels_224
from bench.processes import run_worker
from bench.quantized import calibrated, photos, write_int8
from bench.registry import Measured, measurement
from bench.sampling import Figure, Sample, Samples
from convscope.exporter.datasets import DatasetOptions, Split, load_dataset
from convscope.exporter.errors import ExporterError
from convscope.exporter.quantization.guard import Fidelity, compare_results
from convscope.exporter.quantization.search import probabilities

NETWORKS = ("resnet50", "mobilenet_v2", LITE0)
SHAPE = (224, 224, 3)
RUNNERS = 2
PAIRS = 8
CALIBRATION_INPUTS = 100
TIMEOUT_SECONDS = 120.0
OPENVINO = ROOT / ".cache" / "openvino" / "bin" / "python"
DATA_DIR = ROOT / "data"


@measurement("int8_speed")
def int8_speed(bench: Bench) -> Measured:
    """Measure images per second of two runners with one thread each."""
    samples = {network: _speed(bench, network) for network in NETWORKS}
    figures = {}
    for network, one in samples.items():
        on_cpu = one.ratio("int8", "fp32")
        others = [one.ratio("openvino", "fp32")] if "openvino" in one.pairs[0] else []
        figures[f"int8_speed.{network}"] = max(on_cpu, *others, key=_value) if others else on_cpu
        figures[f"int8_speed_on_cpu.{network}"] = on_cpu
    details = {network: one.details() for network, one in samples.items()}
    return Measured(figures, {"openvino": OPENVINO.exists(), **details})


@measurement("int8_top1_kept")
def int8_top1_kept(bench: Bench) -> Measured:
    """Measure the best classes that INT8 keeps: of photos, and of both kinds of MNIST."""
    kept = {LITE0: _kept_of_photos(bench)}
    for lesson in LESSONS:
        if lesson.architecture == "lenet":
            try:
                kept[lesson.model] = _kept_of_lesson(bench, lesson)
            except ExporterError as error:
                raise BenchError(f"{lesson.model} can't be measured: {error}") from error
    return Measured(
        {f"int8_top1_kept.{name}": Figure(one.kept_where_clear) for name, one in kept.items()},
        {
            "photos": [path.name for path in found()],
            "missing_packages": missing(),
            **{
                name: {"inputs": one.inputs, "clear": one.clear, "kept_of_all": one.kept}
                for name, one in kept.items()
            },
        },
    )


def _speed(bench: Bench, network: str) -> Samples:
    pixels = bench.scratch / "pixels"
    pixels.write_bytes(pixels_224())
    task = {
        **{"threads": 1, "spinning": False, "batch": 1, "callers": RUNNERS},
        **{"shape": SHAPE, "pixels": str(pixels), "seconds": bench.seconds(2.0)},
    }
    fp32 = {**task, "graph": str(plain_graph(bench, network))}
    int8 = {**task, "graph": str(write_int8(bench, network))}
    sides = {"fp32": lambda: _run(fp32), "int8": lambda: _run(int8)}
    if OPENVINO.exists():
        sides["openvino"] = lambda: _run({**int8, **_openvino()}, OPENVINO)
    return bench.interleave(PAIRS, **sides)


def _openvino() -> dict[str, Any]:
    """Return the provider: without core pinning, which halves the speed of two streams."""
    config = {"CPU": {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": "NO"}}
    options = {
        "device_type": "CPU",
        "num_of_threads": str(RUNNERS),
        "num_streams": str(RUNNERS),
        "load_config": json.dumps(config),
    }
    return {"providers": ["OpenVINOExecutionProvider"], "provider_options": [options]}


def _run(task: dict[str, Any], python: Path | None = None) -> Sample:
    watch = Watch()
    seconds = task["seconds"] + TIMEOUT_SECONDS
    found = run_worker("bench.inprocess", task, seconds=seconds, python=python)
    return Sample(found["images_per_second"], watch.read().others, found["cpu_us"])


def _kept_of_photos(bench: Bench) -> Fidelity:
    directory = bundle(bench, LITE0)
    calibration, held_out = photos(directory)
    original, network = calibrated(directory, calibration[: bench.count(CALIBRATION_INPUTS)])
    held_out = held_out[: bench.count(len(held_out))]
    return compare_results(
        probabilities(original, held_out), probabilities(network.quantized(), held_out)
    )


def _kept_of_lesson(bench: Bench, lesson: Lesson) -> Fidelity:
    directory = bench.cache / "lessons" / "models" / lesson.model / "1"
    if not directory.exists():
        train(lesson, DATA_DIR, bench.cache / "lessons")
    data = load_dataset(lesson.dataset, DatasetOptions(DATA_DIR))
    if not isinstance(data.train, Split) or not isinstance(data.test, Split):
        raise TypeError(f"{lesson.dataset} consists of files")
    calibration = data.train.inputs[: bench.count(CALIBRATION_INPUTS)]
    held_out = data.test.inputs[: bench.count(len(data.test.inputs))]
    original, network = calibrated(directory, calibration)
    return compare_results(
        probabilities(original, held_out),
        probabilities(network.quantized(), held_out),
        data.test.labels[: len(held_out)],
    )


def _value(figure: Figure) -> float:
    return figure.value
