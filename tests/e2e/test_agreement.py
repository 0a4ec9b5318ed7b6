"""The server's preprocessor agrees with the simple one of the exporter.

The client's shrinking of large photos changes results by no more than that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format
from numpy.typing import NDArray
from PIL import Image
from support.damage import cuts, idat_of, kinds_of_images
from support.photos import photos

from convscope.client import ServerLimits
from convscope.client._inputs.shrinking import shrink
from convscope.client.types import Resize
from convscope.exporter.bundles.reader import open_bundle, open_unexplained
from convscope.exporter.errors import ExporterError
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.server.errors import InvalidInputError
from convscope.server.inference.decoding.preprocessor import ImageLimits, Preprocessor
from convscope.v1 import manifest_pb2 as pb

# The first test also exports the bundle and makes the photos, perhaps on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIMITS = ImageLimits(max_pixels=16_000_000, max_side=8192)
# The top class may change only if the reference is nearly undecided.
CLEAR_MARGIN = 0.05
LARGEST_DIFFERENCE = 0.03
MEAN_DIFFERENCE = 0.01
FEWEST_PHOTOS = 150
# Photos with a longer shorter edge are shrunk if they exceed a limit.
SHRUNK_SIDE = 1024
FEWEST_LARGE_PHOTOS = 60

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The probabilities of one photo with both preprocessors, float32 [classes]."""

    name: str
    found: Floats
    expected: Floats

    @property
    def difference(self) -> float:
        return float(np.abs(self.found - self.expected).max())

    @property
    def margin(self) -> float:
        second, first = np.sort(self.expected)[-2:]
        return float(first - second)

    @property
    def same_class(self) -> bool:
        return bool(self.found.argmax() == self.expected.argmax())


@dataclass(frozen=True, slots=True)
class Comparisons:
    """All photos, and those of megapixels as the client shrinks them."""

    whole: list[Comparison]
    shrunk: list[Comparison]


@pytest.fixture(scope="module")
def both(demo_repository: Path) -> Comparisons:
    """Both at once: to make the photos and prepare them by the reference takes half of the time."""
    whole, shrunk = zip(*compare(demo_repository / "efficientnet_lite0" / "1"), strict=True)
    return Comparisons(list(whole), [one for one in shrunk if one is not None])


@pytest.fixture
def comparisons(both: Comparisons) -> list[Comparison]:
    return both.whole


def compare(bundle: Path) -> Iterator[tuple[Comparison, Comparison | None]]:
    """Classify every photo with both preprocessors; those of megapixels also after shrinking.

    A photo that either can't read is an error.
    """
    manifest = json_format.Parse((bundle / "manifest.json").read_text(), pb.ModelManifest())
    fast, plain = preprocessors(manifest)
    session = open_unexplained(open_bundle(bundle))
    resize = Resize(shortest_edge=manifest.preprocessing.resize.shortest_edge)
    for photo in photos():
        images = [plain.prepare(photo.data), fast.decode(photo.data)]
        if min(Image.open(BytesIO(photo.data)).size) > SHRUNK_SIDE:
            images.append(prepare_shrunk(photo.data, resize, fast))
        inputs = {manifest.input.name: np.stack(images)}
        (probabilities,) = session.run(["probabilities"], inputs)
        expected, found, *shrunk = probabilities
        whole = Comparison(photo.name, found, expected)
        yield whole, Comparison(photo.name, shrunk[0], expected) if shrunk else None


def prepare_shrunk(photo: bytes, resize: Resize, fast: Preprocessor) -> NDArray[np.uint8]:
    """Prepare what the client sends of a large photo as the server does."""
    shrunk = shrink(photo, resize, ServerLimits())
    assert max(shrunk.sent_size) < max(Image.open(BytesIO(photo)).size)
    sent = shrunk.image
    return fast.decode(sent) if isinstance(sent, bytes) else fast.prepare(sent)


def preprocessors(manifest: pb.ModelManifest) -> tuple[Preprocessor, ImagePreprocessing]:
    """Return the server's preprocessor and the reference, for the same manifest."""
    height, width, _ = manifest.input.shape
    plain = ImagePreprocessing.of_manifest(manifest)
    return Preprocessor(manifest.preprocessing, height, width, LIMITS), plain


def worst(comparisons: list[Comparison]) -> str:
    """List the photos with the largest differences, to help find the cause."""
    ordered = sorted(comparisons, key=lambda one: -one.difference)
    return "\n".join(f"{one.difference:.4f} {one.name}" for one in ordered[:10])


def test_there_are_enough_different_photos(comparisons: list[Comparison]) -> None:
    assert len(comparisons) >= FEWEST_PHOTOS
    assert len({one.name for one in comparisons}) == len(comparisons)


def test_no_clear_class_changes(comparisons: list[Comparison]) -> None:
    clear = [one for one in comparisons if one.margin > CLEAR_MARGIN]
    assert len(clear) > len(comparisons) / 2
    assert [one.name for one in clear if not one.same_class] == []


def test_every_probability_is_close(comparisons: list[Comparison]) -> None:
    largest = max(one.difference for one in comparisons)
    assert largest <= LARGEST_DIFFERENCE, worst(comparisons)


def test_the_mean_difference_is_smaller(comparisons: list[Comparison]) -> None:
    mean = np.mean([one.difference for one in comparisons])
    assert mean <= MEAN_DIFFERENCE, worst(comparisons)


# Shrinking in the client


def test_shrinking_large_photos_changes_as_little(both: Comparisons) -> None:
    shrunk = both.shrunk
    assert len(shrunk) >= FEWEST_LARGE_PHOTOS
    clear = [one for one in shrunk if one.margin > CLEAR_MARGIN]
    assert [one.name for one in clear if not one.same_class] == []
    assert max(one.difference for one in shrunk) <= LARGEST_DIFFERENCE, worst(shrunk)
    assert np.mean([one.difference for one in shrunk]) <= MEAN_DIFFERENCE, worst(shrunk)


# Damage


EXACT = pb.Preprocessing(
    color_mode=pb.COLOR_MODE_RGB,
    resize=pb.Resize(rule=pb.RESIZE_RULE_EXACT, height=64, width=64),
    interpolation=pb.INTERPOLATION_BILINEAR,
)


def damaged() -> Iterator[tuple[str, bytes]]:
    """Truncate every kind of image, and change bytes in PNG, which has checksums."""
    for kind, data in kinds_of_images().items():
        for shorter in cuts(data, 12):
            yield f"{kind}, {len(shorter)} of {len(data)} bytes", shorter
        if "PNG" in kind:
            start, end = idat_of(data)
            for place in range(start, end, max((end - start) // 12, 1)):
                changed = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
                yield f"{kind}, byte {place} changed", changed


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_what_the_server_decodes_of_damaged_images_is_what_the_reference_decodes() -> None:
    fast = Preprocessor(EXACT, 64, 64, LIMITS)
    plain = ImagePreprocessing(height=64, width=64, mean=(0.5,) * 3, std=(0.5,) * 3)
    rejected = 0
    for name, data in damaged():
        try:
            found = fast.decode(data)
        except InvalidInputError:
            rejected += 1
            continue
        difference = np.abs(found.astype(int) - plain.prepare(data).astype(int))
        assert difference.max() <= 4, name
    assert rejected > 700


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_the_reference_rejects_damaged_images_too() -> None:
    """It may accept what lacks only the end of the file, as long as all pixels are there."""
    plain = ImagePreprocessing(height=64, width=64, mean=(0.5,) * 3, std=(0.5,) * 3)
    whole = {kind: plain.prepare(data) for kind, data in kinds_of_images().items()}
    for name, data in damaged():
        try:
            found = plain.prepare(data)
        except ExporterError:
            continue
        assert np.array_equal(found, whole[name.split(",")[0]]), name
