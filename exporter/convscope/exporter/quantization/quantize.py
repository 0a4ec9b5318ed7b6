"""Publishes an INT8 version of a bundle, if the accuracy guard accepts it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from convscope.bundle.clear_results import has_independent_classes
from convscope.bundle.golden import HEAT
from convscope.bundle.graph_contract import check_graph, parse_graph
from convscope.bundle.layout import GRAPH
from convscope.bundle.writer import check_free, next_version, write_bundle
from convscope.exporter.bundles.reader import open_bundle
from convscope.exporter.explanations.explaining import explain, unless_left_out
from convscope.exporter.explanations.removal import remove_explanation
from convscope.exporter.quantization.data import QuantizationData, load_data
from convscope.exporter.quantization.golden import GoldenGate
from convscope.exporter.quantization.manifest import describe_quantization, quantized_manifest
from convscope.exporter.quantization.network import calibrate
from convscope.exporter.quantization.search import Attempt, probabilities, search
from convscope.exporter.quantization.speed import Speed, measure_speed

__all__ = ["Progress", "Quantization", "QuantizedBundle", "quantize_bundle"]


@dataclass(frozen=True, slots=True)
class Quantization:
    """What a user chooses.

    Args:
        calibration: The dataset of the calibration inputs, such as "folder:photos".
        held_out: The dataset of the guard; None for the inputs that don't calibrate.
        limits: How many inputs calibrate and how many are held out, at most.
        version: The number of the new version; None for the next free one.
        explanations: False leaves the explanations out, and also quantizes the layers that
            they are computed from.
    """

    calibration: str
    held_out: str | None
    limits: tuple[int, int]
    version: int | None = None
    explanations: bool = True


@dataclass(frozen=True, slots=True)
class QuantizedBundle:
    """A published INT8 version.

    Args:
        directory: Its directory.
        attempt: The accepted attempt.
        layers: The number of layers that could be quantized.
        speed: Its speed relative to FP32.
        sizes: The bytes of the graph in FP32 and in INT8.
        explanation: A line about its explanations; empty without any.
    """

    directory: Path
    attempt: Attempt
    layers: int
    speed: Speed
    sizes: tuple[int, int]
    explanation: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Receives what happens during a quantization.

    Args:
        data: Called with the inputs.
        attempt: Called with each attempt.
        warn: Called with a message for each file that can't be read.
    """

    data: Callable[[QuantizationData], None]
    attempt: Callable[[Attempt], None]
    warn: Callable[[str], None]


def quantize_bundle(directory: Path, chosen: Quantization, progress: Progress) -> QuantizedBundle:
    """Publish an INT8 version of a bundle beside it.

    Args:
        directory: The version's directory.
        chosen: What the user chooses.
        progress: Receives what happens.

    Raises:
        BundleError: The bundle is damaged, or the new version can't be published.
        ExporterError: The data doesn't suit the model, or the guard rejects the quantized
            graphs; nothing was published.
    """
    bundle = open_bundle(directory)
    parent, repository = bundle.manifest, directory.resolve().parent.parent
    manifest = quantized_manifest(parent, chosen.version or next_version(repository, parent.model))
    check_free(repository, manifest.model, manifest.version)
    data = load_data(parent, chosen.calibration, chosen.held_out, chosen.limits, progress.warn)
    progress.data(data)
    original = parse_graph(bundle.read_file(GRAPH))
    check_graph(original, parent)
    remove_explanation(original)
    expected = probabilities(original, data.held_out.values)
    explained = chosen.explanations and parent.HasField("explanation")
    fp32 = onnx.ModelProto()
    fp32.CopyFrom(original)
    network = calibrate(
        fp32, data.calibration.values, parent.explanation.tensor if explained else None
    )
    gate = GoldenGate(bundle)
    model, attempt = search(
        network,
        data.held_out,
        expected,
        gate.problem,
        progress.attempt,
        independent=has_independent_classes(parent),
    )
    speed = measure_speed(model, original, data.held_out.values[:1])
    describe_quantization(manifest, data, network, attempt, speed)
    gate.state_tolerances(model, manifest)
    arrays, line = gate.arrays(), ""
    content = model.SerializeToString()
    if explained:
        found, line = unless_left_out(None, lambda: explain(model, gate.inputs, len(parent.labels)))
        if found is not None:
            found.describe_in(manifest)
            content, arrays[HEAT] = found.data, found.heat
    target = write_bundle(repository, manifest, lambda path: _write(path, content), arrays)
    sizes = (original.ByteSize(), len(content))
    return QuantizedBundle(target, attempt, len(network.layers), speed, sizes, line)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
