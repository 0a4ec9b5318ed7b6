"""Turns a foreign ONNX classifier into a published bundle that equals the original."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.bundle.golden import golden_arrays
from convscope.bundle.writer import write_bundle
from convscope.exporter.conversion.photos import golden_photos
from convscope.exporter.errors import ExporterError
from convscope.exporter.explanations.explaining import explain, unless_left_out
from convscope.exporter.foreign.analysis import find_facts, find_maps, parameter_count
from convscope.exporter.foreign.batch import with_dynamic_batch
from convscope.exporter.foreign.head import Head, find_head
from convscope.exporter.foreign.image_input import ImageInput, find_input
from convscope.exporter.foreign.join import join
from convscope.exporter.foreign.manifest import add_maps, add_provenance, describe
from convscope.exporter.foreign.maps import ForeignMap
from convscope.exporter.foreign.normalization import Normalization
from convscope.exporter.foreign.original import Original
from convscope.exporter.foreign.parity import check_parity
from convscope.exporter.foreign.reading import ForeignFile, read
from convscope.exporter.foreign.source import (
    ForeignSource,
    class_labels,
    image_preprocessing,
    metadata_labels,
    pixel_normalization,
)
from convscope.exporter.graphs.comparison import OutputDifference
from convscope.exporter.graphs.sessions import Arrays, open_graph, run_each
from convscope.exporter.outputs.detection import decide
from convscope.exporter.outputs.finiteness import Finiteness, check_finite
from convscope.exporter.outputs.independence import check_independence, check_operators
from convscope.exporter.outputs.probes import probes
from convscope.exporter.outputs.semantics import Semantics
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.v1 import manifest_pb2 as pb

__all__ = [
    "CheckedGraph",
    "ForeignSource",
    "Imported",
    "check_import",
    "import_checked",
    "import_model",
]


@dataclass(frozen=True, slots=True)
class Imported:
    """A published bundle.

    Args:
        directory: The bundle's directory.
        input: The graph's input.
        semantics: What the graph's output contains.
        parity: The difference of each output from the original's.
        explanation: A line about the graph's explanations.
    """

    directory: Path
    input: ImageInput
    semantics: Semantics
    parity: list[OutputDifference]
    explanation: str


@dataclass(frozen=True, slots=True)
class _Reference:
    """The original's results for the check images.

    Args:
        images: The images as the graph takes them, uint8 [n, H, W, C].
        semantics: What the original returns.
        has_argument: Whether the logits are the argument of the original's activation.
        expected: Its logits, probabilities and feature maps for these images.
        finiteness: Which of its results are finite.
    """

    images: NDArray[np.uint8]
    semantics: Semantics
    has_argument: bool
    expected: Arrays
    finiteness: Finiteness


@dataclass(frozen=True, slots=True)
class CheckedGraph:
    """A foreign graph whose options fit, before the slow steps.

    Args:
        source: The options.
        file: The graph.
        dynamic: The graph for any number of images.
        image: Its input.
        normalization: What the graph gets after the preprocessing.
        preprocessing: How images are prepared.
        head: Its end.
        maps: Its feature maps.
    """

    source: ForeignSource
    file: ForeignFile
    dynamic: onnx.ModelProto
    image: ImageInput
    normalization: Normalization
    preprocessing: ImagePreprocessing
    head: Head
    maps: Sequence[ForeignMap]


def check_import(source: ForeignSource) -> CheckedGraph:
    """Read a foreign graph, and check that the options fit it.

    Raises:
        ExporterError: They don't, or the file can't be used.
    """
    file = read(source.path, source.output, source.feature_maps or ())
    channels = 1 if source.color == "gray" else 3
    image = find_input(file.model, source.layout, channels, source.size)
    check_operators(file.model)
    normalization = pixel_normalization(source, image)
    preprocessing = image_preprocessing(source, image, normalization)
    head = find_head(file.model, file.output.tensor)
    dynamic = with_dynamic_batch(file.model, image)
    maps = find_maps(dynamic, source.feature_maps)
    return CheckedGraph(source, file, dynamic, image, normalization, preprocessing, head, maps)


def import_model(source: ForeignSource, repository: Path) -> Imported:
    """Check a foreign graph, and turn it into a published bundle.

    Raises:
        ExporterError: A step failed; nothing was published.
    """
    return import_checked(check_import(source), repository)


def import_checked(checked: CheckedGraph, repository: Path) -> Imported:
    """Add preprocessing to a foreign graph, compare it with the original, and publish it.

    Raises:
        ExporterError: A step failed; nothing was published.
    """
    source, file, dynamic, image = checked.source, checked.file, checked.dynamic, checked.image
    normalization, preprocessing = checked.normalization, checked.preprocessing
    head, maps = checked.head, checked.maps
    original = Original(file.original, image, normalization, head, maps)
    reference = _run_original(original, source, preprocessing)
    head = head if reference.has_argument else replace(head, logits=None)
    semantics, finite = reference.semantics, reference.finiteness.compared
    chosen = source.labels or file.output.labels or metadata_labels(file.original)
    labels = class_labels(chosen, semantics)
    joined = join(dynamic, image, normalization, head, semantics, maps)
    data, heat = joined.SerializeToString(), None
    session = open_graph(data)
    images = reference.images[finite]
    alone = run_each(session, images)
    check_independence(joined, session, images, alone)
    finite_results = {name: values[finite] for name, values in reference.expected.items()}
    parity = check_parity(alone, finite_results)
    golden = _golden_rows(reference)
    manifest = describe(source, image, semantics, labels, preprocessing, len(golden))
    manifest.nonfinite_results = bool(reference.finiteness.nonfinite)
    manifest.nonfinite_inputs.extend(reference.finiteness.nonfinite)
    _add_analysis(manifest, source, file, joined, maps)
    explained, line = unless_left_out(
        source.explanations, lambda: explain(joined, reference.images[golden], len(labels))
    )
    if explained is not None:
        explained.describe_in(manifest)
        data, heat = explained.data, explained.heat
    arrays = _golden_arrays(reference, golden, heat)
    directory = write_bundle(repository, manifest, lambda path: _write(path, data), arrays)
    return Imported(directory, image, semantics, parity, line)


def _run_original(
    original: Original, source: ForeignSource, preprocessing: ImagePreprocessing
) -> _Reference:
    """Run the original on photos, constant images and noise, and decide what it returns."""
    photos = [preprocessing.prepare(photo) for photo in golden_photos()]
    named = {f"photo {index + 1}": photo for index, photo in enumerate(photos)}
    others = probes(preprocessing.shape, images=True)
    named |= {name: image.astype(np.uint8) for name, image in others.items()}
    images = np.stack(list(named.values()))
    values, argument, maps = original.run(images)
    semantics = decide(source.activation, original.head.ending, values)
    if argument is not None and not semantics.has_argument(argument, values):
        argument = None
    expected = {
        "logits": semantics.logits(values, argument),
        "probabilities": semantics.probabilities(values),
        **maps,
    }
    finiteness = check_finite(expected, list(named), allow=source.allow_nonfinite)
    return _Reference(images, semantics, argument is not None, expected, finiteness)


def _golden_rows(reference: _Reference) -> NDArray[np.intp]:
    """Return the rows of the photos that are golden inputs.

    Raises:
        ExporterError: The original returns NaN or infinity for every photo.
    """
    kept = np.flatnonzero(reference.finiteness.compared[: len(golden_photos())])
    if not len(kept):
        raise ExporterError(
            "the graph returns NaN or infinity for every photo, so the server could not check it"
        )
    return kept


def _golden_arrays(
    reference: _Reference, rows: NDArray[np.intp], heat: NDArray[np.float32] | None
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of golden.npz."""
    photos = golden_photos()
    outputs = {name: values[rows] for name, values in reference.expected.items()}
    return golden_arrays([photos[index] for index in rows], outputs, heat)


def _add_analysis(
    manifest: pb.ModelManifest,
    source: ForeignSource,
    file: ForeignFile,
    joined: onnx.ModelProto,
    maps: Sequence[ForeignMap],
) -> None:
    """Add the provenance and the feature maps to a manifest."""
    facts = find_facts(joined, maps)
    parameters = parameter_count(file.model) if facts is None else facts["logits"].parameters
    add_provenance(manifest, source, file.description, parameters)
    add_maps(manifest, maps, facts or {})


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
