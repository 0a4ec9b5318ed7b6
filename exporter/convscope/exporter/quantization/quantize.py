"""Publishes an INT8 version of a bundle, if the accuracy guard accepts it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.golden import HEAT, Golden
from convscope.bundle.golden_comparison import compare_feature_maps, compare_probabilities
from convscope.bundle.graph_contract import check_graph, parse_graph
from convscope.bundle.layout import GOLDEN, GRAPH
from convscope.bundle.reader import Bundle
from convscope.bundle.writer import check_free, next_version, write_bundle
from convscope.exporter.bundles.golden_inputs import golden_inputs
from convscope.exporter.bundles.reader import open_bundle
from convscope.exporter.explanations.explaining import explain, unless_left_out
from convscope.exporter.explanations.removal import remove_explanation
from convscope.exporter.graphs.sessions import open_graph, run_each
from convscope.exporter.quantization.data import QuantizationData, load_data
from convscope.exporter.quantization.manifest import derived_manifest, describe_quantization
from convscope.exporter.quantization.network import calibrate
from convscope.exporter.quantization.search import Attempt, probabilities, search
from convscope.exporter.quantization.speed import Speed, measure_speed
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Progress", "Quantization", "QuantizedBundle", "quantize_bundle"]

# The tolerance is stated in hundredths.
_TOLERANCE_STEPS = 100
_LARGEST_TOLERANCE = 0.25


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
    manifest = derived_manifest(parent, chosen.version or next_version(repository, parent.model))
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
    gate = _GoldenGate(bundle)
    model, attempt = search(network, data.held_out, expected, gate.problem, progress.attempt)
    speed = measure_speed(model, original, data.held_out.values[:1])
    describe_quantization(manifest, data, network, attempt, speed)
    manifest.golden.probability_tolerance = gate.tolerance(model)
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


class _GoldenGate:
    """Compares a quantized graph with the golden outputs, as a server will.

    Args:
        bundle: The parent.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._golden: Golden = bundle.read_golden()
        self.inputs = golden_inputs(self._golden, bundle.manifest)

    def problem(self, model: onnx.ModelProto) -> str | None:
        """Return why a server would reject a graph; None if it wouldn't."""
        found = self._run(model)
        allowed = pb.ModelManifest()
        allowed.CopyFrom(self._bundle.manifest)
        allowed.golden.probability_tolerance = _LARGEST_TOLERANCE
        try:
            compare_probabilities(found["probabilities"], self._golden, allowed)
            compare_feature_maps(
                {name: found[name] for name in self._golden.feature_map_means}, self._golden
            )
        except BundleRejectedError as error:
            return error.message
        return None

    def tolerance(self, model: onnx.ModelProto) -> float:
        """Return the tolerance to state: the parent's, and the change by the quantization."""
        found, expected = self._run(model)["probabilities"], self._golden.probabilities
        change = 0.0 if expected is None else float(np.abs(found - expected).max())
        stated = self._bundle.manifest.golden.probability_tolerance + change
        return math.ceil(stated * _TOLERANCE_STEPS - 1e-4) / _TOLERANCE_STEPS

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the parent's golden arrays without the heat."""
        with np.load(BytesIO(self._bundle.read_file(GOLDEN)), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files if name != HEAT}

    def _run(self, model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
        return run_each(open_graph(model.SerializeToString()), self.inputs)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
