"""Heat over a photo, and explanations as pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageChops
from support.images import EXIF_ORIENTATIONS, encode, picture, with_orientation

from convscope.client import ClassScore, Explanation, ImageCrop, InvalidInputError, Tensor

CROP = ImageCrop(40, 10, 100, 70, 120, 80)  # a part of a photo of 120 x 80
GRAY = Image.new("RGB", (120, 80), (128, 128, 128))
ESPRESSO, CUP = ClassScore(967, "espresso", 0.95), ClassScore(968, "cup", 0.02)


def explanation(
    array: Any = ((1, 0), (0, -1)), crop: ImageCrop | None = CROP, **fields: Any
) -> Explanation:
    values: dict[str, Any] = {
        "target": ESPRESSO,
        "against": None,
        "method": "grad-cam",
        "array": np.array(array, np.float32),
        "logit": 9.0,
        "remainder": 0.5,
        "tensor": "conv",
        "crop": crop,
        "model": "net",
        "version": 3,
    }
    return Explanation(**values | fields)


def warmth(image: Image.Image) -> NDArray[np.int16]:
    """Return how much redder than blue each pixel is."""
    pixels = np.asarray(image, np.int16)
    return pixels[:, :, 0] - pixels[:, :, 2]


def test_heat_is_orange_for_a_class_and_blue_against_it() -> None:
    warm = warmth(explanation().overlay(GRAY))
    assert warm[15, 45] > 100
    assert warm[65, 95] < -80
    assert abs(warm[15, 95]) < 5  # zero


def test_heat_is_where_the_network_saw_it() -> None:
    heat = warmth(explanation([[1]]).overlay(GRAY)) != 0
    expected = np.zeros((80, 120), bool)
    expected[10:70, 40:100] = True
    assert (heat == expected).all()


def test_the_rest_is_dimmed_or_plain() -> None:
    photo = picture(120, 80)
    dim, plain = (np.asarray(explanation().overlay(photo, outside=o)) for o in ("dim", "plain"))
    original = np.asarray(photo)
    assert (plain[:, :40] == original[:, :40]).all()
    assert (dim[:, :40] < 0.5 * original[:, :40].astype(float) + 1).all()
    assert (dim[10:70, 40:100] == plain[10:70, 40:100]).all()


@pytest.mark.parametrize("orientation", EXIF_ORIENTATIONS)
def test_heat_is_drawn_over_the_upright_photo(orientation: int, tmp_path: Path) -> None:
    width, height = (120, 80) if orientation < 5 else (80, 120)
    photo = with_orientation(Image.new("RGB", (width, height), "gray"), orientation, "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(photo)
    for source in (photo, path, str(path), Image.open(path)):
        overlay = explanation().overlay(source)
        assert overlay.size == (120, 80)
        assert overlay == explanation().overlay(Image.new("RGB", (120, 80), "gray"))


@pytest.mark.parametrize("size", [(1200, 800), (60, 40), (61, 40), (12, 8)])
def test_the_photo_may_have_another_size(size: tuple[int, int]) -> None:
    overlay = explanation([[1]]).overlay(GRAY.resize(size))
    assert overlay.size == size
    rows, columns = np.nonzero(warmth(overlay))
    assert abs(columns.min() / size[0] - 40 / 120) < 0.05
    assert abs((rows.max() + 1) / size[1] - 70 / 80) < 0.05


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_photos_of_any_mode_are_accepted(mode: str) -> None:
    overlay = explanation().overlay(Image.new(mode, (120, 80)))
    assert (overlay.mode, overlay.size) == ("RGB", (120, 80))


@pytest.mark.parametrize("shape", [(80, 120), (80, 120, 1), (80, 120, 3), (80, 120, 4)])
def test_pixels_are_accepted(shape: tuple[int, ...]) -> None:
    assert explanation().overlay(np.full(shape, 128, np.uint8)).size == (120, 80)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("RGB", (80, 120)), "80 x 120 pixels; the one that was classified is 120 x 80"),
        (b"no image", "can't be read"),
        ("missing.png", "'missing.png' can't be read: No such file"),
        (Tensor(np.zeros((80, 120, 3))), "drawn over a value of type Tensor"),
        (np.zeros((80, 120)), "the array is float64"),
        (np.zeros((80, 120, 2), np.uint8), "it has 2 channels"),
    ],
)
def test_other_images_are_rejected(image: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        explanation().overlay(image)


def test_heat_without_a_place_cannot_be_drawn() -> None:
    with pytest.raises(InvalidInputError, match="which part of an image net v3 saw"):
        explanation(crop=None).overlay(GRAY)
    signal = explanation([1, 2, 3], crop=None)
    with pytest.raises(InvalidInputError, match=r"the heat has the shape \[3\]"):
        signal.overlay(GRAY)
    with pytest.raises(InvalidInputError, match=r"the heat has the shape \[3\]"):
        signal.to_image()


def test_a_common_limit_makes_pictures_comparable() -> None:
    weak, strong = explanation([[1]]), explanation([[2]])
    assert weak.overlay(GRAY) == strong.overlay(GRAY)
    assert weak.overlay(GRAY, limit=2) != strong.overlay(GRAY, limit=2)
    assert weak.overlay(GRAY, opacity=0) == explanation([[0]]).overlay(GRAY)


def test_heat_that_hardly_matters_is_pale() -> None:
    none, weak = explanation([[0]]).overlay(GRAY), explanation([[1e-6]]).overlay(GRAY)
    assert weak == none
    in_other_units = explanation([[1e-6]], method="eigen-cam", remainder=None).overlay(GRAY)
    assert warmth(in_other_units).max() > 100


# Pictures


def test_a_picture_shows_the_photo_and_its_heat() -> None:
    plain, other = (explanation(array) for array in ([[0, 0], [0, 0]], [[1, 0], [0, 0]]))
    photo = picture(120, 80)
    blank, shown = plain.to_image(photo), other.to_image(photo)
    assert blank.size == shown.size
    changed = ImageChops.difference(blank, shown).getbbox()
    assert changed is not None
    assert changed[0] > shown.width // 2 - 20  # the heat, at the right, and its scale
    assert warmth(shown).max() > 100


@pytest.mark.parametrize(
    "size", [(28, 28), (1, 1), (120, 80), (80, 120), (3000, 2000), (2000, 400), (300, 2400)]
)
def test_pictures_fit_a_screen(size: tuple[int, int]) -> None:
    whole = ImageCrop(0, 0, *size, *size)
    drawn = explanation(crop=whole).to_image(Image.new("RGB", size, "gray"), image_name="a.png")
    assert 600 < drawn.width < 1300
    assert 300 < drawn.height < 1300


def test_a_tiny_photo_is_drawn_with_its_pixels() -> None:
    digit = Image.fromarray(np.eye(28, dtype=np.uint8) * 255)
    drawn = np.asarray(explanation(crop=ImageCrop(0, 0, 28, 28, 28, 28)).to_image(digit))
    assert (drawn[82:100, 28:46] == 255).all()  # the first pixel, as a square of 18 x 18


@pytest.mark.parametrize(
    "fields",
    [
        {"against": CUP},
        {"method": "eigen-cam", "remainder": None},
        {"method": "occlusion", "remainder": None, "tensor": ""},
        {"target": ClassScore(0, "a label of so many words that it fits nowhere " * 3, 1)},
        {"target": ClassScore(0, "crème brûlée, кофе, 咖啡", 1)},
        {"array": np.zeros((7, 7), np.float32), "logit": 0.0},
    ],
    ids=["contrast", "eigen-cam", "occlusion", "long label", "other scripts", "zero"],
)
def test_no_text_reaches_the_edge(fields: dict[str, Any]) -> None:
    for photo in (picture(120, 80), None):
        drawn = np.asarray(explanation(**fields).to_image(photo, image_name="long name " * 30))
        corner = drawn[0, 0]
        assert (drawn[:, -20:] == corner).all()
        assert (drawn[-8:] == corner).all()


def test_a_letter_without_a_glyph_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convscope.client._drawing.style._SYSTEM_FONTS", ())
    drawn = [
        explanation(target=ClassScore(0, label, 1)).to_image()
        for label in ("creme кофе", "crème кофе", "creme ????")
    ]
    assert drawn[0] == drawn[1] == drawn[2]


def test_damaged_metadata_are_ignored_as_by_the_server() -> None:
    photo = picture(120, 80)
    damaged = encode(photo, exif=b"no TIFF file")
    assert explanation().overlay(damaged) == explanation().overlay(photo)


def test_a_damaged_file_is_an_invalid_input() -> None:
    whole = encode(picture(120, 80))
    for data in (whole[: len(whole) // 2], whole[:60] + whole[90:], b"GIF89a"):
        with pytest.raises(InvalidInputError, match="can't be read"):
            explanation().overlay(data)


def test_overlays_of_files_are_those_of_pictures() -> None:
    photo = picture(120, 80)
    assert explanation().to_image(encode(photo)) == explanation().to_image(photo)
