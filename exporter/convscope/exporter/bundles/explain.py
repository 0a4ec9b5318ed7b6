"""Adds explanations to a published bundle, as a new version and without PyTorch."""

from dataclasses import dataclass
from importlib import metadata
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convscope.bundle.golden import HEAT
from convscope.bundle.graph_contract import check_graph, parse_graph
from convscope.bundle.layout import GOLDEN, GRAPH
from convscope.bundle.reader import Bundle
from convscope.bundle.writer import check_free, next_version, write_bundle
from convscope.exporter.bundles.final_argument import use_argument
from convscope.exporter.bundles.golden_inputs import golden_inputs
from convscope.exporter.bundles.reader import open_bundle
from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.explaining import Explained, explain
from convscope.v1 import manifest_pb2 as pb

__all__ = ["ExplainedBundle", "check_explainable", "explain_bundle"]


@dataclass(frozen=True, slots=True)
class ExplainedBundle:
    """A new version with explanations.

    Args:
        directory: The new version's directory.
        summary: A line about its heat.
    """

    directory: Path
    summary: str


def explain_bundle(directory: Path, version: int | None = None) -> ExplainedBundle:
    """Publish a copy of a bundle with explanations, beside it.

    Args:
        directory: The version's directory.
        version: The number of the new version; None for the next free one.

    Raises:
        BundleError: The bundle is damaged, or the new version can't be published.
        ExporterError: The bundle has explanations already, or its graph can't be
            explained; nothing was published.
    """
    bundle, manifest = check_explainable(directory, version)
    repository = directory.resolve().parent.parent
    golden = bundle.read_golden()
    model = parse_graph(bundle.read_file(GRAPH))
    check_graph(model, bundle.manifest)
    inputs = golden_inputs(golden, bundle.manifest)
    logits = use_argument(model, inputs, len(manifest.labels))
    explained = explain(model, inputs, len(manifest.labels))
    explained.describe_in(manifest)
    target = write_bundle(
        repository,
        manifest,
        lambda path: _write(path, explained.data),
        _golden_arrays(bundle, explained, logits),
    )
    return ExplainedBundle(target, explained.summary)


def check_explainable(
    directory: Path, version: int | None = None
) -> tuple[Bundle, pb.ModelManifest]:
    """Return a bundle, and the manifest of the new version before its explanation is described.

    Raises:
        BundleError: The bundle is damaged, or the new version can't be published.
        ExporterError: The bundle has explanations already, or no classes.
    """
    bundle = open_bundle(directory)
    repository = directory.resolve().parent.parent
    manifest = _new_manifest(bundle, version or next_version(repository, bundle.manifest.model))
    check_free(repository, manifest.model, manifest.version)
    return bundle, manifest


def _new_manifest(bundle: Bundle, version: int) -> pb.ModelManifest:
    """Copy a manifest for a version that is derived from the bundle."""
    manifest = pb.ModelManifest()
    manifest.CopyFrom(bundle.manifest)
    name = f"{manifest.model}/{manifest.version}"
    if manifest.task != pb.TASK_CLASSIFICATION:
        raise ExplanationError(f"{name} has no classes, so there is nothing to explain")
    if manifest.HasField("explanation"):
        raise ExplanationError(f"{name} has explanations already")
    manifest.version = version
    del manifest.files[:]
    manifest.provenance.parent = name
    manifest.provenance.convscope_version = metadata.version("convscope")
    manifest.provenance.created_at.GetCurrentTime()
    return manifest


def _golden_arrays(
    bundle: Bundle, explained: Explained, logits: NDArray[np.float32] | None
) -> dict[str, NDArray[np.generic]]:
    with np.load(BytesIO(bundle.read_file(GOLDEN)), allow_pickle=False) as stored:
        replaced = {} if logits is None else {"logits": logits}
        return {**stored, **replaced, HEAT: explained.heat}


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
