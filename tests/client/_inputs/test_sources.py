"""Open files, buffers, paths with `~`, and arrays of floating point."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convscope.client import InvalidInputError, from_float
from convscope.client._calls.image_encoder import ImageEncoder
from convscope.client._inputs.images import encode_input
from convscope.client._inputs.sources import resolve_source
from convscope.client._inputs.upright import open_upright


def png(color: tuple[int, int, int] = (200, 30, 20)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), color).save(file, "PNG")
    return file.getvalue()


class AnyPath:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(png())
    return path


def sources(file: Path) -> list[Any]:
    data = file.read_bytes()
    return [file, str(file), AnyPath(file), bytearray(data), memoryview(data), io.BytesIO(data)]


@pytest.mark.parametrize("index", range(6))
def test_every_source_is_the_same_image(file: Path, index: int) -> None:
    image = sources(file)[index]
    assert encode_input(image) == encode_input(file.read_bytes())
    assert open_upright(sources(file)[index]).size == (6, 4)


def test_an_open_file_is_read_from_its_position_and_stays_open(file: Path) -> None:
    stream = io.BytesIO(b"header" + png())
    stream.seek(6)
    assert encode_input(stream) == encode_input(png())
    assert not stream.closed
    with file.open("rb") as opened:
        assert encode_input(opened) == encode_input(png())
        assert not opened.closed
        with pytest.raises(InvalidInputError, match=r"no bytes after its position; rewind it"):
            encode_input(opened)
    with pytest.raises(InvalidInputError, match=r"photo\.png' can't be read: .*closed file"):
        encode_input(opened)
    with (
        file.open(encoding="latin-1") as text,
        pytest.raises(InvalidInputError, match='open it with mode "rb"'),
    ):
        encode_input(text)  # type: ignore[arg-type]


def test_reading_an_open_file_may_block(file: Path) -> None:
    def ask(*_: object) -> Any:
        pytest.fail("no need to ask")

    encoder = ImageEncoder("error", ask, ask)
    with file.open("rb") as opened:
        assert encoder.is_slow(opened)
    assert not encoder.is_slow(np.zeros((4, 4), np.uint8))
    assert not encoder.is_slow(png())


def test_the_home_directory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    assert resolve_source("~/photo.png") == resolve_source(Path("~/photo.png")) == file
    with pytest.raises(InvalidInputError, match=r"^the path '~nobody-here/a.png' can't be read"):
        encode_input("~nobody-here/a.png")
    with pytest.raises(InvalidInputError, match="is bytes; give it as str"):
        resolve_source(_BytesPath())


class _BytesPath:
    def __fspath__(self) -> bytes:
        return b"a.png"


# Floating point


def test_values_from_0_to_1_become_pixels() -> None:
    values = np.array([[0, 0.2], [0.5, 1]], np.float64)
    found = from_float(values)
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 51], [128, 255]]
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for dtype in (np.float16, np.float32, np.float64):
        assert (from_float((pixels / 255).astype(dtype)) == pixels).all()


@pytest.mark.parametrize("values", [[-0.1, 0.5], [0.0, 1.1], [0.0, 255.0], [np.nan, 0.5]])
def test_other_values_are_rejected(values: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="converts values from 0 to 1; divide by 255"):
        from_float(np.array([values]))


def test_an_array_of_integers_needs_no_conversion() -> None:
    with pytest.raises(InvalidInputError, match="arrays of floating point, not uint8"):
        from_float(np.zeros((2, 2), np.uint8))


def test_the_error_of_an_array_of_floating_point_names_the_conversion() -> None:
    with pytest.raises(InvalidInputError, match=r"give convscope\.client\.from_float\(array\)"):
        encode_input(np.zeros((4, 4, 3), np.float32))
