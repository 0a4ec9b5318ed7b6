"""Compares the results of two bundles for a folder of images."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from convscope.bundle.clear_results import has_independent_classes, named_classes
from convscope.exporter.bundles.reader import open_bundle, open_unexplained, preprocess
from convscope.exporter.errors import ExporterError, ImageError, reason
from convscope.exporter.graphs.sessions import run_session
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Agreement", "Classifier", "ImageResult", "compare_results", "find_images"]


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The best class of each bundle for one image, or all probable ones."""

    image: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of two bundles.

    Args:
        images: The number of images.
        shared_labels: The number of classes that both have, by name.
        top1: The fraction of the images that have the same best class, 0 to 1.
        largest_difference: The largest difference of a probability of a shared class;
            None without shared classes.
        largest_image: The image that has it.
        largest_label: The class whose probability it is.
        mean_difference: Over all images and shared classes.
        disagreements: The images whose best classes differ.
    """

    images: int
    shared_labels: int
    top1: float
    largest_difference: float | None
    largest_image: str
    largest_label: str
    mean_difference: float | None
    disagreements: tuple[ImageResult, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return asdict(self)


class Classifier:
    """A bundle that is run with its own preprocessing.

    Args:
        directory: The bundle's directory.

    Raises:
        BundleRejectedError: It is damaged.
        ExporterError: It doesn't classify images, or ONNX Runtime can't load it.
    """

    def __init__(self, directory: Path) -> None:
        bundle = open_bundle(directory)
        self._manifest = bundle.manifest
        name = f"{self._manifest.model} v{self._manifest.version}"
        if self._manifest.input.kind != pb.INPUT_KIND_IMAGE:
            raise ExporterError(f"{name} takes tensors, so leave --images out")
        if self._manifest.task != pb.TASK_CLASSIFICATION:
            raise ExporterError(f"{name} has no classes to compare, so leave --images out")
        self.labels = tuple(self._manifest.labels)
        self._session: ort.InferenceSession = open_unexplained(bundle)

    def probabilities(self, image: Path) -> NDArray[np.float32]:
        """Classify an image; float32 [K].

        Raises:
            ExporterError: The image can't be read.
        """
        try:
            pixels = preprocess(self._manifest, image.read_bytes())  # uint8 [H, W, C]
        except (OSError, ImageError) as error:
            raise ExporterError(f"{image} can't be read as an image: {reason(error)}") from error
        name = self._manifest.input.name
        (found,) = run_session(self._session, name, pixels[np.newaxis], ["probabilities"])
        row: NDArray[np.float32] = found[0]
        return row

    def named(self, row: NDArray[np.float32]) -> str:
        """Return the best class of probabilities, [K], or all probable ones if several can be."""
        independent = has_independent_classes(self._manifest)
        named = np.flatnonzero(named_classes(row, independent=independent))
        return ", ".join(self.labels[index] for index in named)


def find_images(folder: Path) -> list[Path]:
    """Return every image of a folder and of the folders in it.

    Raises:
        ExporterError: There is none.
    """
    endings = Image.registered_extensions()
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings)
    if not found:
        raise ExporterError(f"no images in {folder}; --images names a folder that holds some")
    return found


def compare_results(a: Classifier, b: Classifier, images: Iterable[Path]) -> Agreement:
    """Run two bundles on images, and compare the results; labels are matched by name.

    Raises:
        ExporterError: An image can't be read, or a graph can't be run.
    """
    columns_a, columns_b = _shared(a.labels, b.labels)
    results: list[ImageResult] = []
    largest, differences = (-1.0, "", ""), []
    for image in images:
        found_a, found_b = a.probabilities(image), b.probabilities(image)
        results.append(ImageResult(str(image), a.named(found_a), b.named(found_b)))
        difference = np.abs(found_a[columns_a] - found_b[columns_b])  # float32 [shared]
        if difference.size:
            at = int(difference.argmax())
            one = (float(difference[at]), str(image), a.labels[columns_a[at]])
            largest = max(largest, one, key=lambda each: each[0])
            differences.append(float(difference.mean()))
    unequal = tuple(result for result in results if result.a != result.b)
    return Agreement(
        images=len(results),
        shared_labels=len(columns_a),
        top1=1 - len(unequal) / len(results),
        largest_difference=largest[0] if differences else None,
        largest_image=largest[1],
        largest_label=largest[2],
        mean_difference=float(np.mean(differences)) if differences else None,
        disagreements=unequal,
    )


def _shared(a: Sequence[str], b: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the positions of the shared labels; the nth of a name matches the nth."""
    places: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(b):
        places[label].append(index)
    pairs = [(index, places[label].pop(0)) for index, label in enumerate(a) if places[label]]
    return [one for one, _ in pairs], [other for _, other in pairs]
