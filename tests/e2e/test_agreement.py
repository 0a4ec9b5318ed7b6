"""The server's fast way from a photo to the classes against the plainest one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from google.protobuf import json_format
from numpy.typing import NDArray
from support.photos import photos

from convscope.exporter.preprocess import ImagePreprocessing
from convscope.server.inference.decoding.preprocessor import ImageLimits, Preprocessor
from convscope.v1 import manifest_pb2 as pb

# The first test also exports the bundle and makes the photos, on a machine that may be busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIMITS = ImageLimits(max_pixels=16_000_000, max_side=8192)
# A class may change only where the reference itself is undecided.
CLEAR_MARGIN = 0.05
LARGEST_DIFFERENCE = 0.03
MEAN_DIFFERENCE = 0.01
FEWEST_PHOTOS = 150

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The probabilities of one photo, float32 [classes], both ways."""

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


@pytest.fixture(scope="module")
def comparisons(demo_repository: Path) -> list[Comparison]:
    return list(compare(demo_repository / "efficientnet_lite0" / "1"))


def compare(bundle: Path) -> Iterator[Comparison]:
    """Classify every photo by both ways; one that can't be read either way is an error."""
    manifest = json_format.Parse((bundle / "manifest.json").read_text(), pb.ModelManifest())
    fast, plain = ways(manifest)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(bundle / "model.onnx", options, ["CPUExecutionProvider"])
    for photo in photos():
        images = np.stack([fast.decode(photo.data), plain.prepare(photo.data)])
        (probabilities,) = session.run(["probabilities"], {manifest.input.name: images})
        yield Comparison(photo.name, *probabilities)


def ways(manifest: pb.ModelManifest) -> tuple[Preprocessor, ImagePreprocessing]:
    """The server's way and the reference, by the same rule."""
    rule = manifest.preprocessing
    height, width, _ = manifest.input.shape
    names = {pb.INTERPOLATION_BILINEAR: "bilinear", pb.INTERPOLATION_BICUBIC: "bicubic"}
    plain = ImagePreprocessing(
        height=height,
        width=width,
        mean=tuple(rule.mean),
        std=tuple(rule.std),
        interpolation=names[rule.interpolation],
        shortest_edge=rule.resize.shortest_edge or None,
    )
    return Preprocessor(rule, height, width, LIMITS), plain


def worst(comparisons: list[Comparison]) -> str:
    """The photos that differ most, for whoever has to find out why."""
    ordered = sorted(comparisons, key=lambda one: -one.difference)
    return "\n".join(f"{one.difference:.4f} {one.name}" for one in ordered[:10])


def test_there_are_photos_enough_and_all_differ(comparisons: list[Comparison]) -> None:
    assert len(comparisons) >= FEWEST_PHOTOS
    assert len({one.name for one in comparisons}) == len(comparisons)


def test_no_clear_class_changes(comparisons: list[Comparison]) -> None:
    clear = [one for one in comparisons if one.margin > CLEAR_MARGIN]
    assert len(clear) > len(comparisons) / 2
    assert [one.name for one in clear if not one.same_class] == []


def test_every_probability_is_close(comparisons: list[Comparison]) -> None:
    largest = max(one.difference for one in comparisons)
    assert largest <= LARGEST_DIFFERENCE, worst(comparisons)


def test_probabilities_are_closer_in_the_mean(comparisons: list[Comparison]) -> None:
    mean = np.mean([one.difference for one in comparisons])
    assert mean <= MEAN_DIFFERENCE, worst(comparisons)
