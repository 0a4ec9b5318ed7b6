"""Compares two bundles: their manifests, and their results for images."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from convscope.bundle.opening import BundleLocation, find_bundle
from convscope.exporter.bundles.reader import open_bundle
from convscope.exporter.repositories.agreement import (
    Agreement,
    Classifier,
    compare_results,
    find_images,
)
from convscope.exporter.repositories.differences import Differences, compare_manifests
from convscope.exporter.repositories.tables import (
    agreement_table,
    difference_table,
    disagreements,
    label_sentences,
)
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Comparison", "compare_bundles"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two bundles side by side.

    Args:
        places: Their paths or URLs, as the user wrote them.
        names: Their names, such as "digits v2".
        differences: The differences of their manifests.
        agreement: Their agreement on images; None without images.
    """

    places: tuple[str, str]
    names: tuple[str, str]
    differences: Differences
    agreement: Agreement | None

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "a": self.places[0],
            "b": self.places[1],
            **self.differences.as_json(),
            "images": None if self.agreement is None else self.agreement.as_json(),
        }

    def report(self) -> Iterator[Table | str]:
        """Yield the tables and sentences of the report."""
        yield difference_table(self.differences, *self.names)
        yield from label_sentences(self.differences.labels, *self.names)
        if self.agreement is not None:
            yield agreement_table(self.agreement)
            if self.agreement.disagreements:
                yield disagreements(self.agreement, *self.names)


def compare_bundles(a: str, b: str, images: Path | None = None) -> Comparison:
    """Compare two bundles.

    Args:
        a: The path or URL of one.
        b: The path or URL of the other.
        images: A folder of images on which both are run.

    Raises:
        ExporterError: A bundle or an image can't be read; the message says which.
    """
    places = find_bundle(a), find_bundle(b)
    first, second = (_manifest(place) for place in places)
    names = tuple(f"{one.model} v{one.version}" for one in (first, second))
    return Comparison(
        places=(a, b),
        names=(names[0], names[1]) if names[0] != names[1] else (a, b),
        differences=compare_manifests(first, second),
        agreement=None if images is None else _compare_results(places, images),
    )


def _manifest(place: BundleLocation) -> pb.ModelManifest:
    if place.directory is not None:
        return open_bundle(place.directory).manifest
    return place.repository.manifest(place.model, place.version)


def _compare_results(places: tuple[BundleLocation, BundleLocation], images: Path) -> Agreement:
    found = find_images(images)
    with ExitStack() as stack:
        a, b = (Classifier(stack.enter_context(place.on_disk())) for place in places)
        return compare_results(a, b, found)
