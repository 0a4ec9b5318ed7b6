"""Repeats what was checked when a bundle was published, on what lies on the disk now."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image
from rich.filesize import decimal

from convscope.exporter.bundles.graph_check import check_graph
from convscope.exporter.bundles.manifest_check import manifest_problems
from convscope.exporter.bundles.reader import (
    BundleError,
    check_hashes,
    parse_graph,
    preprocess,
    read_arrays,
    read_manifest,
)
from convscope.exporter.graphs.comparison import BATCHES, TOLERANCE, compare
from convscope.exporter.graphs.sessions import Arrays, open_graph, run_session
from convscope.exporter.pyramid.facts import feature_map_facts
from convscope.v1 import manifest_pb2 as pb

__all__ = ["CHECKS", "Check", "verify"]

# As the server's gate: another decoder moves a channel's mean a little.
FEATURE_MAP_TOLERANCE = 0.05
STRIDE_TOLERANCE = 1e-3  # the manifest keeps 32 bits
CHECKS = ("manifest", "hashes", "graph", "golden", "batches")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is as it should be.

    Args:
        name: One of CHECKS.
        detail: What was found.
    """

    name: str
    detail: str


def verify(directory: Path) -> Iterator[Check]:
    """Check a bundle, one thing after the other.

    Args:
        directory: The version's directory.

    Yields:
        What is right, as it is found, in the order of CHECKS.

    Raises:
        BundleError: The next thing isn't right; the message says why.
        ExporterError: ONNX Runtime can't run the graph.
    """
    manifest = read_manifest(directory)
    for problem in manifest_problems(manifest, directory):
        raise BundleError(f"the manifest can't be right: {problem}")
    yield Check("manifest", f"{manifest.model} v{manifest.version}, {_describe(manifest)}")
    contents = check_hashes(directory, manifest)
    size = decimal(sum(file.size_bytes for file in manifest.files))
    yield Check("hashes", f"model.onnx and golden.npz, {size}, are those of the manifest")
    model = parse_graph(contents.graph)
    check_graph(model, manifest)
    _check_strides(model, manifest)
    yield Check("graph", _describe_graph(model))
    session = open_graph(contents.graph)
    golden = read_arrays(contents.golden)
    inputs = _golden_inputs(golden, manifest)
    outputs = _one_by_one(session, inputs, manifest.input.name)
    yield Check("golden", _check_golden(outputs, golden, manifest))
    yield Check("batches", _check_batches(session, inputs, outputs, manifest.input.name))


def _describe(manifest: pb.ModelManifest) -> str:
    classes, maps = len(manifest.labels), len(manifest.feature_maps)
    said = f"{classes:,} classes, " if manifest.task == pb.TASK_CLASSIFICATION else ""
    return f"{said}{maps} feature map{'' if maps == 1 else 's'}"


def _describe_graph(model: onnx.ModelProto) -> str:
    opset = max(entry.version for entry in model.opset_import)
    return f"self-contained, opset {opset}, {len(model.graph.node):,} standard operators"


def _check_strides(model: onnx.ModelProto, manifest: pb.ModelManifest) -> None:
    """Hold the strides, by which maps are laid over a picture, against those of the graph."""
    stated = [spec for spec in manifest.feature_maps if spec.stride]
    facts = feature_map_facts(model, [spec.name for spec in stated])
    for spec in stated:
        found = facts[spec.name].stride
        if abs(spec.stride - found) > STRIDE_TOLERANCE * found:
            raise BundleError(
                f"the manifest says that {spec.name!r} has a stride of {spec.stride:g}; "
                f"the graph's is {found:g}"
            )


def _golden_inputs(
    golden: Mapping[str, NDArray[np.generic]], manifest: pb.ModelManifest
) -> NDArray[np.generic]:
    """The golden inputs, prepared the reference way; uint8 or float32 [n, ...]."""
    image = manifest.input.kind == pb.INPUT_KIND_IMAGE
    dtype = np.dtype(np.uint8 if image else np.float32)
    inputs = []
    for index in range(manifest.golden.inputs):
        stored = _stored(golden, f"input_{index}")
        ready = _prepare(manifest, stored.tobytes(), index) if image else stored
        if ready.dtype != dtype or list(ready.shape) != list(manifest.input.shape):
            raise BundleError(
                f"golden input {index} is {ready.dtype} {list(ready.shape)}, the model takes "
                f"{dtype} {list(manifest.input.shape)}"
            )
        inputs.append(ready)
    return np.stack(inputs)


def _prepare(manifest: pb.ModelManifest, encoded: bytes, index: int) -> NDArray[np.uint8]:
    try:
        return preprocess(manifest, encoded)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BundleError(f"golden input {index} is no image that can be read") from error
    except (MemoryError, OverflowError) as error:
        raise BundleError(
            f"golden input {index} can't be resized as the manifest says: that is too large"
        ) from error


def _stored(golden: Mapping[str, NDArray[np.generic]], name: str) -> NDArray[np.generic]:
    if name not in golden:
        raise BundleError(f"golden.npz lacks {name!r}")
    return golden[name]


def _expected(
    golden: Mapping[str, NDArray[np.generic]], name: str, found: NDArray[np.float32]
) -> NDArray[np.floating]:
    """What golden.npz has for outputs that were found."""
    stored = _stored(golden, name)
    if not np.issubdtype(stored.dtype, np.floating):
        raise BundleError(f"golden.npz has {stored.dtype} for {name!r}, not float32")
    if stored.shape != found.shape:
        raise BundleError(
            f"golden.npz has {list(stored.shape)} for {name!r}, the graph's are {list(found.shape)}"
        )
    return np.asarray(stored, np.float32)


def _run(session: ort.InferenceSession, name: str, inputs: NDArray[np.generic]) -> Arrays:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, run_session(session, name, inputs, names), strict=True))


def _one_by_one(session: ort.InferenceSession, inputs: NDArray[np.generic], name: str) -> Arrays:
    each = [_run(session, name, row[np.newaxis]) for row in inputs]
    outputs = {key: np.concatenate([one[key] for one in each]) for key in each[0]}
    for key, values in outputs.items():
        if not np.isfinite(values).all():
            raise BundleError(f"the output {key!r} is not finite")
    return outputs


def _check_golden(
    outputs: Arrays, golden: Mapping[str, NDArray[np.generic]], manifest: pb.ModelManifest
) -> str:
    said = [f"{manifest.golden.inputs} inputs"]
    if manifest.task == pb.TASK_CLASSIFICATION:
        difference = _compare_probabilities(outputs, golden, manifest)
        said += ["the same best classes", f"probabilities within {difference:.1e}"]
    means = [_compare_map(spec.name, outputs, golden) for spec in manifest.feature_maps]
    if means:
        said.append(f"feature maps within {max(means):.1e} of the largest mean")
    return ", ".join(said)


def _compare_probabilities(
    outputs: Arrays, golden: Mapping[str, NDArray[np.generic]], manifest: pb.ModelManifest
) -> float:
    found = outputs["probabilities"]
    expected = _expected(golden, "probabilities", found)
    for index, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if ours.argmax() != theirs.argmax():
            labels = (manifest.labels[int(values.argmax())] for values in (ours, theirs))
            raise BundleError("golden input {} is {!r} now and was {!r}".format(index, *labels))
    difference = float(np.abs(np.subtract(found, expected)).max())
    tolerance = manifest.golden.probability_tolerance
    if not difference <= tolerance:
        raise BundleError(
            f"a golden probability differs by {difference:.4f}; at most {tolerance:.4f} is allowed"
        )
    return difference


def _compare_map(name: str, outputs: Arrays, golden: Mapping[str, NDArray[np.generic]]) -> float:
    means = outputs[name].mean(axis=(2, 3))  # [n, channels]
    expected = _expected(golden, f"feature_map_means/{name}", means)
    difference, largest = (float(np.abs(one).max()) for one in (means - expected, expected))
    if not difference <= FEATURE_MAP_TOLERANCE * largest:
        raise BundleError(
            f"a channel mean of {name!r} differs by {difference:.4g}; the largest is "
            f"{largest:.4g}, and at most {FEATURE_MAP_TOLERANCE:.0%} of it is allowed"
        )
    return difference / (largest or 1.0)


def _check_batches(
    session: ort.InferenceSession, inputs: NDArray[np.generic], alone: Arrays, name: str
) -> str:
    worst = 0.0
    for batch in BATCHES:
        rows: Sequence[int] = [index % len(inputs) for index in range(batch)]
        together = _run(session, name, inputs[rows])
        for key, values in together.items():
            difference = compare(key, values, alone[key][rows])
            if not difference <= TOLERANCE:
                raise BundleError(
                    f"{key!r} differs by {difference:.1e} of the largest magnitude in a batch "
                    f"of {batch}; at most {TOLERANCE:.0e} is allowed"
                )
            worst = max(worst, difference)
    return f"of {', '.join(map(str, BATCHES))} give what each input gives alone, within {worst:.1e}"
