"""Repeats the checks that a bundle passed when it was published, on what is on disk now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from rich.filesize import decimal

from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.golden import Golden, parse_golden
from convscope.bundle.golden_comparison import (
    compare_feature_maps,
    compare_heat,
    compare_probabilities,
)
from convscope.bundle.graph_contract import check_graph, parse_graph
from convscope.bundle.layout import GOLDEN, GRAPH
from convscope.bundle.signatures import TrustedSigners
from convscope.exporter.bundles.golden_inputs import golden_inputs
from convscope.exporter.bundles.reader import open_bundle
from convscope.exporter.explanations.heat import CLASSES, HEAT
from convscope.exporter.explanations.removal import remove_explanation
from convscope.exporter.graphs.comparison import BATCHES, TOLERANCE, compare
from convscope.exporter.graphs.sessions import Arrays, feed_session, open_graph
from convscope.exporter.pyramid.facts import feature_map_facts
from convscope.v1 import manifest_pb2 as pb

__all__ = ["CHECKS", "Check", "verify"]

# Behind layers in FP32, a difference in the last digit may change the rounding to 8 bits.
QUANTIZED_TOLERANCE = 3e-2
STRIDE_TOLERANCE = 1e-3  # the manifest keeps 32 bits
CHECKS = ("manifest", "hashes", "graph", "golden", "batches")


@dataclass(frozen=True, slots=True)
class Check:
    """A check that the bundle passed.

    Args:
        name: One of CHECKS.
        detail: What was found.
    """

    name: str
    detail: str


def verify(directory: Path, trusted: TrustedSigners | None = None) -> Iterator[Check]:
    """Check a bundle, one thing after the other.

    Args:
        directory: The version's directory.
        trusted: One of these must have signed it; None to ignore signatures.

    Yields:
        Each check that it passes, in the order of CHECKS.

    Raises:
        BundleRejectedError: It fails the next check; the message says why.
        ExporterError: The directory can't be read, or ONNX Runtime can't run the graph.
    """
    bundle = open_bundle(directory, trusted)
    manifest = bundle.manifest
    signed = "" if trusted is None else ", signed by a trusted signer"
    described = f"{manifest.model} v{manifest.version}, {_describe(manifest)}{signed}"
    yield Check("manifest", described)
    graph, golden_file = bundle.read_file(GRAPH), bundle.read_file(GOLDEN)
    size = decimal(sum(file.size_bytes for file in manifest.files))
    yield Check("hashes", f"model.onnx and golden.npz, {size}, match the manifest")
    model = parse_graph(graph)
    check_graph(model, manifest)
    described = _describe_graph(model)
    remove_explanation(model)
    _check_strides(model, manifest)
    yield Check("graph", described)
    session = open_graph(graph)
    golden = parse_golden(golden_file, manifest)
    inputs = golden_inputs(golden, manifest)
    outputs = _one_by_one(session, inputs, manifest.input.name)
    yield Check("golden", _check_golden(outputs, golden, manifest))
    yield Check("batches", _check_batches(session, inputs, outputs, manifest))


def _describe(manifest: pb.ModelManifest) -> str:
    classes, maps = len(manifest.labels), len(manifest.feature_maps)
    shown = f"{classes:,} classes, " if manifest.task == pb.TASK_CLASSIFICATION else ""
    heat = ", explanations" if manifest.HasField("explanation") else ""
    return f"{shown}{maps} feature map{'' if maps == 1 else 's'}{heat}"


def _describe_graph(model: onnx.ModelProto) -> str:
    opset = max(entry.version for entry in model.opset_import)
    return f"self-contained, opset {opset}, {len(model.graph.node):,} standard operators"


def _check_strides(model: onnx.ModelProto, manifest: pb.ModelManifest) -> None:
    """Compare the strides, by which maps are laid over a picture, with those of the graph."""
    stated = [spec for spec in manifest.feature_maps if spec.stride]
    facts = feature_map_facts(model, [spec.name for spec in stated])
    for spec in stated:
        found = facts[spec.name].stride
        if abs(spec.stride - found) > STRIDE_TOLERANCE * found:
            raise BundleRejectedError(
                "graph",
                f"the manifest says that {spec.name!r} has a stride of {spec.stride:g}; "
                f"the graph's is {found:g}",
            )


def _run(session: ort.InferenceSession, name: str, inputs: NDArray[np.generic]) -> Arrays:
    names = [output.name for output in session.get_outputs()]
    feed: dict[str, NDArray[np.generic]] = {name: inputs}
    if HEAT in names:
        feed[CLASSES] = np.full((len(inputs), 1), -1)  # the best class
    return dict(zip(names, feed_session(session, feed, names), strict=True))


def _one_by_one(session: ort.InferenceSession, inputs: NDArray[np.generic], name: str) -> Arrays:
    each = [_run(session, name, row[np.newaxis]) for row in inputs]
    outputs = {key: np.concatenate([one[key] for one in each]) for key in each[0]}
    for key, values in outputs.items():
        if not np.isfinite(values).all():
            raise BundleRejectedError("golden", f"the graph's output {key!r} is not finite")
    return outputs


def _check_golden(outputs: Arrays, golden: Golden, manifest: pb.ModelManifest) -> str:
    found = [f"{manifest.golden.inputs} inputs"]
    if manifest.task == pb.TASK_CLASSIFICATION:
        difference = compare_probabilities(outputs["probabilities"], golden, manifest)
        found += ["the same best classes", f"probabilities within {difference:.1e}"]
    if golden.feature_map_means:
        maps = {name: outputs[name] for name in golden.feature_map_means}
        difference = compare_feature_maps(maps, golden, manifest)
        found.append(f"feature maps within {difference:.1e} of the largest mean")
    if golden.heat is not None:
        difference = compare_heat(outputs[HEAT][:, 0], golden)
        found.append(f"heat within {difference:.1e} of the largest")
    return ", ".join(found)


def _check_batches(
    session: ort.InferenceSession,
    inputs: NDArray[np.generic],
    alone: Arrays,
    manifest: pb.ModelManifest,
) -> str:
    worst, name = 0.0, manifest.input.name
    tolerance = TOLERANCE if manifest.precision == pb.PRECISION_FP32 else QUANTIZED_TOLERANCE
    for batch in BATCHES:
        rows: Sequence[int] = [index % len(inputs) for index in range(batch)]
        together = _run(session, name, inputs[rows])
        for key, values in together.items():
            difference = compare(key, values, alone[key][rows])
            if not difference <= tolerance:
                raise BundleRejectedError(
                    "golden",
                    f"{key!r} differs by {difference:.1e} of the largest magnitude in a batch "
                    f"of {batch}; at most {tolerance:.0e} is allowed",
                )
            worst = max(worst, difference)
    return f"{', '.join(map(str, BATCHES))} match single inputs within {worst:.1e}"
