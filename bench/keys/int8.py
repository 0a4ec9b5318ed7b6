"""Measure INT8 against FP32: images per second, and the best classes that are kept."""

from bench.bundles import LITE0, bundle, plain_graph
from bench.context import ROOT, Bench
from bench.errors import BenchError
from bench.explained_photos import found, missing
from bench.lesson import LESSONS, Lesson, train
from bench.provider_runs import NETWORKS, OPENVINO, PAIRS, on_openvino, run, runs_of
from bench.quantized import calibrated, photos, write_int8
from bench.registry import Measured, measurement
from bench.sampling import Figure, Samples
from convscope.exporter.bundles.reader import open_bundle
from convscope.exporter.datasets import DatasetOptions, Split, load_dataset, prepare
from convscope.exporter.errors import ExporterError
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.quantization.guard import Fidelity, compare_results
from convscope.exporter.quantization.search import probabilities

CALIBRATION_INPUTS = 100
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
    fp32 = runs_of(bench, plain_graph(bench, network))
    int8 = runs_of(bench, write_int8(bench, network))
    sides = {"fp32": lambda: run(fp32), "int8": lambda: run(int8)}
    if OPENVINO.exists():
        sides["openvino"] = lambda: run(on_openvino(int8, "f32"), OPENVINO)
    return bench.interleave(PAIRS, **sides)


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
    rule = ImagePreprocessing.of_manifest(open_bundle(directory).manifest)
    calibration = _first(data.train, bench.count(CALIBRATION_INPUTS), rule).inputs
    held_out = _first(data.test, bench.count(len(data.test.inputs)), rule)
    original, network = calibrated(directory, calibration)
    return compare_results(
        probabilities(original, held_out.inputs),
        probabilities(network.quantized(), held_out.inputs),
        held_out.labels,
    )


def _first(split: Split, count: int, rule: ImagePreprocessing) -> Split:
    """Return the first samples of a split as a network takes them."""
    samples = Split(split.inputs[:count], split.labels[:count])
    return prepare(samples, rule, strict=True, warn=print)


def _value(figure: Figure) -> float:
    return figure.value
