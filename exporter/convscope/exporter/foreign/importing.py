"""Turns a foreign ONNX classifier into a published bundle that equals the original."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convscope.bundle.golden import golden_arrays
from convscope.bundle.writer import write_bundle
from convscope.exporter.conversion.photos import golden_photos
from convscope.exporter.foreign.batch import with_dynamic_batch
from convscope.exporter.foreign.head import find_head, find_output
from convscope.exporter.foreign.image_input import ImageInput, find_input
from convscope.exporter.foreign.join import join
from convscope.exporter.foreign.manifest import add_maps, add_provenance, describe
from convscope.exporter.foreign.maps import named_maps, stage_maps
from convscope.exporter.foreign.original import Original
from convscope.exporter.foreign.parity import check_parity
from convscope.exporter.foreign.reading import read
from convscope.exporter.foreign.source import (
    ForeignSource,
    class_labels,
    image_preprocessing,
    metadata_labels,
    pixel_normalization,
)
from convscope.exporter.graphs.comparison import BATCHES, OutputDifference
from convscope.exporter.graphs.static_graph import static_graph
from convscope.exporter.pyramid.facts import feature_map_facts

__all__ = ["ForeignSource", "Imported", "import_model"]


@dataclass(frozen=True, slots=True)
class Imported:
    """A published bundle.

    Args:
        directory: The bundle's directory.
        input: The graph's input.
        activation: The function that computes the probabilities.
        parity: The difference of each output from the original's.
    """

    directory: Path
    input: ImageInput
    activation: str
    parity: list[OutputDifference]


def import_model(source: ForeignSource, repository: Path) -> Imported:
    """Add preprocessing to a foreign graph, compare it with the original, and publish it.

    Raises:
        ExporterError: A step failed; nothing was published.
    """
    file = read(source.path)
    channels = 1 if source.color == "gray" else 3
    image = find_input(file.model, source.layout, channels, source.size)
    output = find_output(file.model, source.output)
    dynamic = with_dynamic_batch(file.model, image)
    graph = static_graph(dynamic)
    head = find_head(graph, output, source.activation)
    labels = class_labels(source.labels or metadata_labels(file.original), head.classes)
    chosen = source.feature_maps
    maps = stage_maps(graph) if chosen is None else named_maps(graph, chosen)
    normalization = pixel_normalization(source, image)
    preprocessing = image_preprocessing(source, image, normalization)
    golden = golden_photos()
    images = _with_noise(np.stack([preprocessing.prepare(photo) for photo in golden]))
    original = Original(file.original, image, normalization, head, maps)
    expected = original.run(images)
    original.check_activation(expected, source.activation)
    joined = join(dynamic, image, normalization, head, maps)
    parity = check_parity(joined, images, expected)
    facts = feature_map_facts(joined, ["logits", *(one.name for one in maps)])
    manifest = describe(source, image, head, labels, preprocessing, len(golden))
    add_provenance(manifest, source, file.description, facts["logits"].parameters)
    add_maps(manifest, maps, facts)
    data = joined.SerializeToString()
    names = ("logits", "probabilities", *(one.name for one in maps))
    arrays = golden_arrays(golden, {name: expected[name] for name in names})
    directory = write_bundle(repository, manifest, lambda path: _write(path, data), arrays)
    return Imported(directory, image, head.activation, parity)


def _with_noise(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Append noise to the golden inputs, so that there are more than the largest batch."""
    count = max(max(BATCHES) + 1 - len(images), 1)
    noise = np.random.default_rng(0).integers(0, 256, (count, *images.shape[1:]), dtype=np.uint8)
    return np.concatenate([images, noise])


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
