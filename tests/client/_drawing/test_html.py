"""Results in notebooks: HTML with small pictures."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convscope.client import ClassScore, ConvscopeError, InvalidInputError, Results
from convscope.client.types import Classification, FeatureMap, StageSeconds

pytestmark = pytest.mark.one_transport("draws results")


def pictures(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    Image.new("RGB", (1200, 900), (200, 30, 20)).save(path)
    return path


def test_a_result_shows_the_image_bars_heat_and_maps(explainer: Any, photo: Path) -> None:
    result = explainer.classify(photo, model="tiny", feature_maps=["conv"], explain=2)
    html = result._repr_html_()
    image, *heat, maps = pictures(html)
    assert image.size == (200, 150)
    red, green, blue = image.convert("RGB").getpixel((100, 75))  # type: ignore[misc]
    assert red > 150 > green + blue
    assert [one.size for one in heat] == [(200, 150)] * 2
    assert maps.info["transparency"] == 255
    for text in (
        "red.png",
        "green",
        "tiny v1",
        "conv: 4 x 16 x 16",
        f"{result.top.probability:.1%}",
    ):
        assert text in html
    assert len(html) < 40_000
    (explanation,) = result.explanations[:1]
    assert [one.size for one in pictures(explanation._repr_html_())] == [(260, 195)] * 2
    png = result.feature_maps["conv"]._repr_png_()
    assert Image.open(io.BytesIO(png)).format == "PNG"


def test_a_result_outlives_its_image(explainer: Any, photo: Path) -> None:
    result = explainer.classify(photo, model="tiny", feature_maps=["conv"], explain=1)
    Image.new("RGB", (10, 300)).save(photo)  # another image
    assert len(pictures(result._repr_html_())) == 3
    photo.unlink()
    assert len(pictures(result._repr_html_())) == 2
    assert len(pictures(result.explanations[0]._repr_html_())) == 1
    assert result.feature_maps["conv"]._repr_png_()


def test_names_are_escaped() -> None:
    attack = "<script>alert(1)</script>"
    scores = (ClassScore(0, attack, 1.0),)
    maps = {attack: FeatureMap(attack, np.zeros((1, 2, 2), np.float32), (0,))}
    result = Classification(
        attack, 1, attack, scores, maps, StageSeconds(0, 0, 0, 0), image=f"{attack}.png"
    )
    error = InvalidInputError(attack)
    error.image = attack
    both: Results[Classification | ConvscopeError] = Results([result, error])
    for html in (result._repr_html_(), both._repr_html_()):
        assert "<script" not in html
        assert "&lt;script&gt;" in html


def test_a_list_shows_the_first_images_and_the_number_of_all(caller: Any, photos: Any) -> None:
    images = [photos["red"], "missing.png", *[photos["blue"]] * 30]
    many = Results(caller.classify_many(images, model="tiny", return_errors=True))
    html = many._repr_html_()
    assert len(pictures(html)) == 24
    assert "32 images · 1 failed · the first 25 are shown" in html
    assert "INVALID_ARGUMENT: there is no image" in html
    assert "0 images" in Results()._repr_html_()


def test_models_are_tables(caller: Any) -> None:
    assert "signal" in caller.models()._repr_html_()
    html = caller.model("tiny")._repr_html_()
    for text in ("tiny v1", "16 x 16 x 3", "red, green, blue", "4 x 16 x 16", "shorter edge 20"):
        assert text in html


def test_images_in_memory_are_kept_by_single_calls_only(caller: Any, photo: Path) -> None:
    image = Image.open(photo)
    assert caller.classify(image, model="tiny").source is not None
    assert caller.classify(image, model="tiny").image == str(photo)
    (result,) = caller.classify_many([image], model="tiny")
    assert result.source is None
    assert pictures(result._repr_html_()) == []
