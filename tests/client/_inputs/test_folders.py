"""Folders and patterns in the place of an image: the advice works as it is printed."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from convscope.client import InvalidInputError
from convscope.client._inputs.images import encode_input
from convscope.client._inputs.many import check_images


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a photo.PNG", tmp_path / "another.PNG"]
    for path in paths:
        Image.new("RGB", (6, 4)).save(path)
    (tmp_path / "notes.txt").touch()
    return paths


def advised(call: Any, images: Any) -> Any:
    """Return what the advice of an error evaluates to."""
    with pytest.raises(InvalidInputError) as caught:
        call(images)
    _, _, expression = str(caught.value).partition("call classify_many(")
    return eval(expression.removesuffix(")"), {"Path": Path})


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("call", [encode_input, check_images])
def test_the_files_of_a_folder(kind: Any, call: Any, tmp_path: Path, photos: list[Path]) -> None:
    assert advised(call, kind(tmp_path)) == photos


@pytest.mark.parametrize("pattern", ["*.PNG", "a*", "[a]*.PNG", "**/*.PNG"])
@pytest.mark.parametrize("call", [encode_input, check_images])
def test_a_pattern(pattern: str, call: Any, tmp_path: Path, photos: list[Path]) -> None:
    assert advised(call, str(tmp_path / pattern)) == photos


def test_an_image_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    path = tmp_path / "photo [1].png"
    Image.new("RGB", (6, 4)).save(path)
    assert encode_input(path)
    with pytest.raises(InvalidInputError, match="is a single image; put it in a list"):
        check_images(str(path))
