"""Foreign graphs with uncommon preprocessing, from the import to the results of a server.

The expected results come from the original graph, and from pixels that are prepared here as its
authors would: in a few lines with Pillow.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from support.exporter import exporter
from support.foreign_models import CLASSES, SIDE, Foreign
from support.images import encode, picture, with_orientation
from support.server import ServerProcess

from convscope.client import Client
from convscope.exporter.graphs.sessions import open_graph

Prepare = Callable[[Image.Image], NDArray[np.uint8]]

pytestmark = pytest.mark.one_transport("compares the results of networks")


def exact_then_crop(photo: Image.Image) -> NDArray[np.uint8]:
    """Squash to 20x22, and cut out the center."""
    return np.asarray(photo.resize((22, 20)).crop((3, 2, 3 + SIDE, 2 + SIDE)))


def letterbox(photo: Image.Image) -> NDArray[np.uint8]:
    """Fit into the input, gray around it."""
    small = ImageOps.contain(photo, (SIDE, SIDE), Image.Resampling.BILINEAR)
    page = Image.new("RGB", (SIDE, SIDE), (114, 114, 114))
    page.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    return np.asarray(page)


def pad_right(photo: Image.Image) -> NDArray[np.uint8]:
    """Fit into the input with Lanczos, a color on the right or at the bottom."""
    small = ImageOps.contain(photo, (SIDE, SIDE), Image.Resampling.LANCZOS)
    page = Image.new("RGB", (SIDE, SIDE), (200, 100, 0))
    page.paste(small, (0, 0))
    return np.asarray(page)


MODELS: dict[str, tuple[Prepare, tuple[str, ...]]] = {
    "exact_then_crop": (exact_then_crop, ("--resize", "20x22", "--interpolation", "bicubic")),
    "letterbox": (letterbox, ("--resize", "fit", "--padding", "114")),
    "pad_right": (
        pad_right,
        (
            *("--resize", "fit", "--placement", "top-left", "--padding", "200,100,0"),
            *("--interpolation", "lanczos"),
        ),
    ),
}
# Sides whose fitted sizes are far from half a pixel, as rounding is not the subject.
PHOTOS = {"wide": (96, 48), "tall": (40, 100), "square": (64, 64), "tiny": (8, 4)}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Foreign().write(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def server(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root = tmp_path_factory.mktemp("models")
    for name, (_, options) in MODELS.items():
        exporter("import", str(original), "--name", name, "--repository", str(root), *options)
    with ServerProcess(root) as running:
        yield running


def expected(original: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = (pixels / 255).astype(np.float32).transpose(2, 0, 1)[np.newaxis]
    (answer,) = open_graph(original.read_bytes()).run(None, {"x": values})
    return np.asarray(answer).reshape(-1)


def served(client: Client, model: str, image: bytes) -> NDArray[np.float32]:
    result = client.classify(image, model=model, top_k=CLASSES)
    found = np.zeros(CLASSES, np.float32)
    for scored in result.classes:
        found[scored.index] = scored.probability
    return found


@pytest.mark.parametrize("size", PHOTOS.values(), ids=PHOTOS)
@pytest.mark.parametrize("name", MODELS)
def test_a_photo_is_prepared_as_the_authors_do(
    server: ServerProcess, original: Path, name: str, size: tuple[int, int]
) -> None:
    photo = picture(*size)
    with Client(server.target) as client:
        found = served(client, name, encode(photo))
    prepare, _ = MODELS[name]
    np.testing.assert_allclose(found, expected(original, prepare(photo)), atol=0.03)


def test_the_three_ways_differ(original: Path) -> None:
    answers = [expected(original, prepare(picture(96, 48))) for prepare, _ in MODELS.values()]
    differences = [np.abs(a - b).max() for a in answers for b in answers if a is not b]
    assert min(differences) > 0.1


def test_a_turned_photo_is_padded_upright(server: ServerProcess, original: Path) -> None:
    turned = with_orientation(picture(96, 48), 6, "PNG")
    with Client(server.target) as client:
        found = served(client, "pad_right", turned)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(turned)))
    assert upright.height > upright.width
    np.testing.assert_allclose(found, expected(original, pad_right(upright)), atol=0.03)


def test_heat_is_drawn_over_the_photo_and_not_over_the_padding(server: ServerProcess) -> None:
    photo = picture(96, 48)
    with Client(server.target) as client:
        result = client.classify(encode(photo), model="letterbox", explain=1)
        description = client.model("letterbox")
    assert description.resize is not None
    assert (description.resize.padding, description.resize.placement) == ((114,) * 3, "center")
    assert "fitted into 16x16, padding 114 around it" in description.preprocessing
    crop = result.crop
    assert crop is not None
    assert (crop.left, crop.top, crop.right, crop.bottom) == (0, -24, 96, 72)
    (explanation,) = result.explanations
    assert explanation.overlay(photo).size == photo.size
    assert explanation.to_image(photo).width > 0


def test_feature_maps_have_short_names(server: ServerProcess) -> None:
    with Client(server.target) as client:
        maps = client.model("letterbox").feature_maps
        result = client.classify(encode(picture()), model="letterbox", feature_maps=["stage2"])
    assert [one.name for one in maps] == ["stage1", "stage2"]
    assert result.feature_maps["stage2"].array.shape == (6, SIDE // 2, SIDE // 2)
