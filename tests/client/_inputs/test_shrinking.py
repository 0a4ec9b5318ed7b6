"""Images beyond the server's limits are sent smaller, and their results refer to the original."""

import io
import logging
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.server import ServerProcess

from convscope.client import InvalidInputError, Results, ServerLimits
from convscope.client._inputs.limits import excess_of
from convscope.client._inputs.shrinking import resize_of, sent_size_of, shrink
from convscope.client.types import Resize

pytestmark = pytest.mark.one_transport("prepares images")

LIMITS = ServerLimits()
PHONE = 5160, 3872  # 20 megapixels


@cache
def scene(size: tuple[int, int]) -> Image.Image:
    """Return a picture that is red in the middle and blue outside, with fine detail."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 60, (height, width, 3), np.uint8)
    noise[:, :, 2] += 150
    middle = noise[height // 6 : -height // 6, width // 6 : -width // 6]
    middle[:, :, 0] += 190
    middle[:, :, 2] -= 150
    return Image.fromarray(noise)


@cache
def encoded(format: str, size: tuple[int, int] = PHONE, orientation: int = 1) -> bytes:
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"JPEG": {"quality": 98, "subsampling": "4:4:4"}}.get(format, {})
    options |= {"compress_level": 1} if format == "PNG" else {}
    scene(size).save(out, format, exif=exif, **options)
    return out.getvalue()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo of a phone that was held upright."""
    path = tmp_path / "phone.jpg"
    path.write_bytes(encoded("JPEG", orientation=6))
    assert path.stat().st_size > 15_000_000
    return path


def test_a_phone_photo_is_shrunk(
    make_caller: Any, explained_server: ServerProcess, photo: Path, caplog: Any
) -> None:
    caller = make_caller(explained_server.target)
    with caplog.at_level(logging.DEBUG, "convscope.client"):
        result = caller.classify(photo, model="tiny", feature_maps=["conv"], explain=1)
    assert result.top.label == "red"
    assert result.image == str(photo)
    width, height = result.sent_size
    assert width < height <= 512
    # The crop has pixels of the original, which is upright 3872 x 5160.
    crop = result.crop
    assert (crop.image_width, crop.image_height) == PHONE[::-1]
    assert crop.right - crop.left == pytest.approx(3872 * 16 / 20, abs=1)
    assert (crop.top + crop.bottom) / 2 == pytest.approx(5160 / 2, abs=150)
    thumbnail = Image.new("RGB", (484, 645))
    assert result.explanations[0].overlay(thumbnail).size == thumbnail.size
    result.feature_maps["conv"].to_image(thumbnail)
    assert f"shrank {photo} from 3872 x 5160 to {width} x {height} pixels" in caplog.text
    assert "the limit of a request is 8,388,608" in caplog.text


@pytest.mark.parametrize("kind", ["png", "pil", "array", "bytes"])
def test_every_kind_of_large_image_is_shrunk(
    make_caller: Any, tiny_server: ServerProcess, kind: str, tmp_path: Path
) -> None:
    png = tmp_path / "screen.png"
    png.write_bytes(flat_png())
    images = {
        "png": png,
        "pil": scene((3000, 3000)),
        "array": np.asarray(scene((3000, 3000))),
        "bytes": encoded("JPEG"),
    }
    caller = make_caller(tiny_server.target)
    (result,) = caller.classify_many([images[kind]], model="tiny")
    assert result.top.label == "red"
    assert result.sent_size is not None
    assert caller.classify(images[kind], model="tiny").classes == result.classes


@cache
def flat_png() -> bytes:
    """Make a PNG of 20 megapixels in less than a megabyte."""
    out = io.BytesIO()
    Image.new("RGB", PHONE, (200, 30, 20)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def test_images_within_the_limits_are_sent_unchanged(caller: Any, photos: Any) -> None:
    result = caller.classify(photos["red"], model="tiny")
    assert (result.sent_size, result.image) == (None, str(photos["red"]))


def test_a_client_may_reject_large_images_instead(
    make_caller: Any, tiny_server: ServerProcess, photo: Path
) -> None:
    caller = make_caller(tiny_server.target, oversize="error")
    with pytest.raises(InvalidInputError, match="too large") as caught:
        caller.classify(photo, model="tiny")
    assert caught.value.image == str(photo)
    outcomes = Results(caller.classify_many([photo], model="tiny", return_errors=True))
    assert [error.image for error in outcomes.errors] == [str(photo)]
    with pytest.raises(InvalidInputError, match="'shrink', 'error'"):
        make_caller(tiny_server.target, oversize="crop")


def test_a_damaged_large_image_is_an_error(caller: Any, tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(encoded("JPEG")[:9_000_000])
    with pytest.raises(InvalidInputError, match=r"cut\.jpg' can't be read.*truncated"):
        caller.classify(path, model="tiny")


def test_a_large_image_of_an_unknown_model_names_the_model(caller: Any) -> None:
    with pytest.raises(Exception, match="no model 'cat'"):
        caller.classify(scene((3000, 3000)), model="cat")


@pytest.mark.parametrize(
    "size", [(4000, 3000), (4032, 3024), (6000, 4000), (4624, 2080), (5000, 5001), (2999, 7001)]
)
def test_the_server_crops_the_same_part(size: tuple[int, int]) -> None:
    """It rounds the longer edge down after scaling the shorter one."""
    for edge in (28, 224, 232, 256, 384):
        width, height = sent_size_of(size, Resize(shortest_edge=edge), LIMITS, "the image")
        assert edge * max(size) // min(size) == edge * max(width, height) // min(width, height)
        assert min(width, height) >= 4 * edge


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (6000, 1001), (2999, 7001)])
def test_a_photo_that_is_padded_keeps_its_detail(size: tuple[int, int]) -> None:
    """It fits into the input as the original does, from at least four times as many pixels."""
    resize = Resize(padding=(114,) * 3, placement="center", height=224, width=320)
    sent = sent_size_of(size, resize, LIMITS, "the image")
    scale, sent_scale = (min(320 / width, 224 / height) for width, height in (size, sent))
    assert 1 / sent_scale >= 3.99
    assert [round(edge * scale) for edge in size] == [round(edge * sent_scale) for edge in sent]
    assert sent < size


def test_an_image_that_is_padded_fits_into_the_whole_input(caller: Any) -> None:
    """The description of the resize has no size then, but that of the input does."""
    plain = caller.model("tiny")
    info = replace(plain, resize=Resize(padding=(0, 0, 0), placement="center"))
    resize = resize_of(info)
    assert resize is not None
    assert (resize.height, resize.width, 3) == info.input.shape
    assert resize_of(plain) == plain.resize
    with pytest.raises(InvalidInputError, match="too many along one edge"):
        shrink(Image.new("L", (60_000, 400)), replace(resize, height=5000, width=5000), LIMITS)


def test_a_large_input_is_sent_as_jpeg() -> None:
    shrunk = shrink(scene((5000, 4000)), Resize(height=600, width=600), LIMITS)
    assert isinstance(shrunk.image, bytes)
    assert len(shrunk.image) < LIMITS.max_request_bytes
    assert min(shrunk.sent_size) >= 1200


def test_a_strip_that_would_lose_detail_is_rejected() -> None:
    with pytest.raises(InvalidInputError, match="too many along one edge"):
        shrink(Image.new("L", (60_000, 400)), Resize(shortest_edge=256), LIMITS)


def test_transparency_becomes_white_as_in_the_server() -> None:
    image = Image.new("RGBA", (3000, 3000), (0, 0, 0, 0))
    pixels = shrink(image, Resize(shortest_edge=64), LIMITS).image
    assert isinstance(pixels, np.ndarray)
    assert pixels.min() == 255


def test_the_limits_depend_on_the_format() -> None:
    size = 3900, 3600  # 14 megapixels
    out = io.BytesIO()
    scene(size).save(out, "JPEG", quality=60, progressive=True)
    assert excess_of(out.getvalue(), LIMITS) is not None
    out = io.BytesIO()
    scene(size).save(out, "JPEG", quality=60)
    assert excess_of(out.getvalue(), LIMITS) is None
    assert excess_of(b"no image" * 100_000, LIMITS) is None
