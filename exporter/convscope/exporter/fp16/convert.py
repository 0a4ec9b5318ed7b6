"""Publishes an FP16 version of a bundle, if it keeps the results of the original."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.bundle.clear_results import CLEAR_MARGIN, margins
from convscope.bundle.golden import HEAT
from convscope.bundle.graph_contract import check_graph, parse_graph
from convscope.bundle.layout import GRAPH
from convscope.bundle.writer import check_free, next_version, write_bundle
from convscope.exporter.bundles.derived import derived_manifest
from convscope.exporter.bundles.reader import open_bundle
from convscope.exporter.errors import QuantizationError
from convscope.exporter.explanations.explaining import explain, unless_left_out
from convscope.exporter.explanations.removal import remove_explanation
from convscope.exporter.fp16.graph import converted_tensors, in_fp16
from convscope.exporter.graphs.sessions import open_graph, run_each
from convscope.exporter.outputs.probes import probes
from convscope.exporter.quantization.golden import GoldenGate
from convscope.exporter.quantization.speed import Speed, measure_speed
from convscope.v1 import manifest_pb2 as pb

__all__ = ["MAX_CHANGE", "Fp16Bundle", "convert_bundle"]

# FP16 changes those of the networks that were tried by 0.01 at most.
MAX_CHANGE = 0.03
LARGEST = float(np.finfo(np.float16).max)

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Fp16Bundle:
    """A published FP16 version.

    Args:
        directory: Its directory.
        change: The largest change of a probability; of a network without classes, of an output,
            relative to its largest value.
        speed: Its speed on this CPU relative to FP32; None for a network without classes.
        sizes: The bytes of the graph in FP32 and in FP16.
        explanation: A line about its explanations; empty without any.
    """

    directory: Path
    change: float
    speed: Speed | None
    sizes: tuple[int, int]
    explanation: str


def convert_bundle(directory: Path, version: int | None = None) -> Fp16Bundle:
    """Publish an FP16 version of a bundle beside it.

    Args:
        directory: The version's directory.
        version: The number of the new version; None for the next free one.

    Raises:
        BundleError: The bundle is damaged, or the new version can't be published.
        QuantizationError: The bundle isn't in FP32, or FP16 changes its results; nothing was
            published.
    """
    bundle = open_bundle(directory)
    parent, repository = bundle.manifest, directory.resolve().parent.parent
    number = version or next_version(repository, parent.model)
    manifest = derived_manifest(parent, number, pb.PRECISION_FP16)
    check_free(repository, manifest.model, manifest.version)
    original = parse_graph(bundle.read_file(GRAPH))
    check_graph(original, parent)
    remove_explanation(original)
    explained = parent.explanation.tensor if parent.HasField("explanation") else None
    model = in_fp16(original, explained)
    gate = GoldenGate(bundle)
    is_image = parent.input.kind == pb.INPUT_KIND_IMAGE
    inputs = probes(tuple(parent.input.shape), images=is_image)
    golden = {f"golden input {index}": one for index, one in enumerate(gate.inputs)}
    _check_range(original, converted_tensors(model), {**inputs, **golden})
    change = _compare(model, original, inputs)
    if (problem := gate.problem(model)) is not None:
        raise QuantizationError(f"FP16 changes the results too much: {problem}; serve it in FP32")
    gate.state_tolerances(model, manifest)
    has_classes = parent.task == pb.TASK_CLASSIFICATION
    speed = measure_speed(model, original, gate.inputs[:1]) if has_classes else None
    arrays, line = gate.arrays(), ""
    content = model.SerializeToString()
    if explained is not None:
        found, line = unless_left_out(None, lambda: explain(model, gate.inputs, len(parent.labels)))
        if found is not None:
            found.describe_in(manifest)
            content, arrays[HEAT] = found.data, found.heat
    target = write_bundle(repository, manifest, lambda path: _write(path, content), arrays)
    sizes = (original.ByteSize(), len(content))
    return Fp16Bundle(target, change, speed, sizes, line)


def _check_range(
    original: onnx.ModelProto, tensors: Sequence[str], inputs: Mapping[str, NDArray[np.generic]]
) -> None:
    """Check that the values between the operators fit into FP16.

    The CPU provider keeps them in FP32, so that its results don't show it.

    Raises:
        QuantizationError: One of them doesn't.
    """
    model = onnx.ModelProto()
    model.CopyFrom(original)
    present = {output.name for output in model.graph.output}
    added = [name for name in tensors if name not in present]
    float_type = onnx.TensorProto.FLOAT
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(n, float_type, None) for n in added
    )
    session = open_graph(model.SerializeToString())
    for described, values in inputs.items():
        found = run_each(session, values[np.newaxis])
        for name in tensors:
            largest = float(np.abs(found[name][np.isfinite(found[name])]).max(initial=0.0))
            if largest > LARGEST:
                raise QuantizationError(
                    f"a value inside the network, {name!r}, is {largest:.3g} for {described}, and "
                    f"FP16 ends at {LARGEST:,.0f}; serve it in FP32"
                )


def _compare(
    model: onnx.ModelProto, original: onnx.ModelProto, inputs: Mapping[str, NDArray[np.generic]]
) -> float:
    """Compare the results for constant images and noise.

    Returns:
        The largest change.

    Raises:
        QuantizationError: A result isn't finite, or changes too much.
    """
    values = np.stack(list(inputs.values()))
    ours, theirs = (
        run_each(open_graph(one.SerializeToString()), values) for one in (model, original)
    )
    names = ["probabilities"] if "probabilities" in theirs else sorted(theirs)
    largest = 0.0
    for name in names:
        for index, described in enumerate(inputs):
            change = _change(name, ours[name][index], theirs[name][index], described)
            largest = max(largest, change)
    return largest


def _change(
    name: str, ours: NDArray[np.float32], theirs: NDArray[np.float32], described: str
) -> float:
    if not np.isfinite(theirs).all():
        return 0.0  # the manifest records it
    if not np.isfinite(ours).all():
        raise QuantizationError(
            f"in FP16, {name!r} is not finite for {described}; serve it in FP32"
        )
    scale = 1.0 if name == "probabilities" else float(np.abs(theirs).max()) or 1.0
    change = float(np.abs(ours - theirs).max()) / scale
    swapped = (
        name == "probabilities"
        and ours.argmax() != theirs.argmax()
        and float(margins(theirs.ravel())) >= CLEAR_MARGIN
    )
    if swapped or not change <= MAX_CHANGE:
        raise QuantizationError(
            f"in FP16, {name!r} changes by {change:.3f} for {described}; at most {MAX_CHANGE:g} "
            "is allowed; serve it in FP32"
        )
    return change


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
