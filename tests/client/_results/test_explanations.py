"""Explanations, from both clients and a real server."""

from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.tiny import SIDE

from convscope.client import (
    Explain,
    Explanation,
    ImageCrop,
    InternalError,
    InvalidInputError,
    NotFoundError,
    Rank,
    Tensor,
)
from convscope.client._results.results import decode_results, result_or_raise
from convscope.client._results.sent_image import CallFacts, SentImage
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

pytestmark = pytest.mark.one_transport("reads results")

Photos = dict[str, Path]
Caller = Any


def test_the_best_classes_are_explained(explainer: Caller, photos: Photos) -> None:
    result = explainer.classify(photos["red"], model="tiny", explain=2)
    best, second = result.explanations
    assert (best.target, second.target) == result.classes[:2]
    assert (best.label, best.index, best.probability) == ("red", 0, result.top.probability)
    assert (best.method, best.tensor, best.against) == ("grad-cam", "conv", None)
    assert (best.model, best.version) == ("tiny", 1)
    assert best.array.shape == (SIDE, SIDE)
    assert best.array.dtype == np.float32
    assert best.array.flags.writeable
    assert best.logit > second.logit


def test_heat_and_remainder_are_the_logit(explainer: Caller, photos: Photos) -> None:
    (red,) = explainer.classify(photos["red"], model="tiny", explain="red").explanations
    assert red.array.sum() + red.remainder == pytest.approx(red.logit, abs=1e-4)
    assert red.share == pytest.approx(1 - red.remainder / red.logit)
    assert red.limit == np.abs(red.array).max()


def test_a_contrast_is_a_difference(explainer: Caller, photos: Photos) -> None:
    classify = explainer.classify
    red, blue = classify(photos["red"], model="tiny", explain=["red", 2]).explanations
    (contrast,) = classify(photos["red"], model="tiny", explain="red", against=2).explanations
    assert contrast.against is not None
    assert (contrast.label, contrast.against.label) == ("red", "blue")
    np.testing.assert_allclose(contrast.array, red.array - blue.array, atol=1e-5)
    assert contrast.logit == pytest.approx(red.logit - blue.logit, abs=1e-4)


def test_uint8_heat_has_the_same_values(explainer: Caller, photos: Photos) -> None:
    both = [Explain("red"), Explain("red", dtype="uint8")]
    exact, small = explainer.classify(photos["red"], model="tiny", explain=both).explanations
    step = np.ptp(exact.array) / 255
    np.testing.assert_allclose(small.array, exact.array, atol=step)


def test_methods_without_a_sum_have_no_remainder(explainer: Caller, photos: Photos) -> None:
    methods = [Explain(method="eigen-cam"), Explain(method="occlusion", cells=4, window=2)]
    eigen, grid = explainer.classify(photos["red"], model="tiny", explain=methods).explanations
    assert eigen.remainder is None
    assert eigen.share is None
    assert (grid.method, grid.tensor, grid.array.shape) == ("occlusion", "", (4, 4))


def test_many_images_are_explained(explainer: Caller, photos: Photos) -> None:
    images = [*photos.values()] * 5
    results = explainer.classify_many(images, model="tiny", explain=1, against=Rank(2))
    labels = [result.explanations[0].label for result in results]
    assert labels == list(photos) * 5


def test_calls_with_and_without_explanations(explainer: Caller, photos: Photos) -> None:
    plain = explainer.classify(photos["red"], model="tiny")
    explained = explainer.classify(photos["red"], model="tiny", explain=True)
    assert (plain.explanations, plain.crop) == ((), None)
    assert plain.classes == explained.classes


def test_the_crop_is_in_pixels_of_the_photo(explainer: Caller, photos: Photos) -> None:
    options: Any = {"model": "tiny", "feature_maps": ["conv"], "explain": 1}
    result = explainer.classify(photos["red"], **options)
    # 40 x 30, of which the center crop keeps 16 of 20 rows and 16 of 26 columns.
    assert astuple(result.crop) == pytest.approx((8, 3, 32, 27, 40, 30), abs=0.5)
    assert result.crop == result.explanations[0].crop == result.feature_maps["conv"].crop
    own = Tensor(np.zeros((SIDE, SIDE, 3), np.uint8))
    whole = explainer.classify(own, **options).crop
    assert whole == ImageCrop(0, 0, SIDE, SIDE, SIDE, SIDE)


def test_the_server_rejects_what_only_it_knows(explainer: Caller, photos: Photos) -> None:
    with pytest.raises(InvalidInputError, match=r"no class 'rod' in tiny v1; did you mean red"):
        explainer.classify(photos["red"], model="tiny", explain=["rod"])
    with pytest.raises(InvalidInputError, match="plain v1 has no grad-cam"):
        explainer.classify(photos["red"], model="plain", explain=1)
    with pytest.raises(InvalidInputError, match="filters v1 has no classes to explain"):
        explainer.classify(photos["red"], model="filters", explain=1)
    with pytest.raises(NotFoundError):
        explainer.classify(photos["red"], model="huge", explain=1)


def test_models_list_their_explanations(explainer: Caller) -> None:
    methods = {summary.model: summary.explanation_methods for summary in explainer.models()}
    assert methods == {
        "tiny": ("grad-cam", "cam", "eigen-cam", "occlusion"),
        "plain": ("occlusion",),
        "filters": (),
    }
    offered = explainer.model("tiny").explanations
    assert offered is not None
    assert offered.methods == methods["tiny"]
    assert (offered.tensor, offered.positions, offered.max_rank) == ("conv", (SIDE, SIDE), 3)
    assert explainer.model("filters").explanations is None


def test_wrong_arguments_are_rejected_without_a_call(make_caller: Any) -> None:
    nowhere = make_caller("localhost:1")
    with pytest.raises(InvalidInputError, match="explain is empty"):
        nowhere.classify(b"x", model="m", explain=[])
    with pytest.raises(InvalidInputError, match="without explain"):
        next(nowhere.classify_many([b"x"], model="m", against="cup"))


# Replies


def decoded(**fields: Any) -> Explanation:
    message = pb.Explanation(target=pb.ClassScore(label="cup", probability=0.5), **fields)
    result = pb.InputResult(prediction=pb.Prediction(explanations=[message]))
    response = pb.ClassifyResponse(model="m", version=1, results=[result])
    (outcome,) = decode_results(response, [SentImage()], CallFacts())
    return result_or_raise(outcome).explanations[0]


def test_uint8_heat_gets_its_scale() -> None:
    heat = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=[1, 3], data=bytes([0, 1, 255]))
    explanation = decoded(heat=heat, scale=0.5, offset=-1, method=7)
    assert explanation.array.tolist() == [[-1, -0.5, 126.5]]
    assert (explanation.crop, explanation.method) == (None, "method 7")


def test_heat_that_contradicts_itself_is_an_error() -> None:
    heat = pb.Tensor(dtype=mpb.DATA_TYPE_FLOAT32, shape=[2, 2], data=bytes(4))
    with pytest.raises(InternalError, match="the heat of 'cup' of the server's reply can't be"):
        decoded(heat=heat)


@pytest.mark.parametrize(
    ("logit", "remainder", "share"), [(-2, -1, 0.5), (2, -1, 1.5), (2, 3, None), (0.09, 0, None)]
)
def test_share_of_a_logit(logit: float, remainder: float, share: float | None) -> None:
    heat = pb.Tensor(dtype=mpb.DATA_TYPE_FLOAT32, shape=[1, 1], data=bytes(4))
    assert decoded(heat=heat, logit=logit, remainder=remainder).share == share


def test_contact_sheets_show_what_the_network_saw(explainer: Caller) -> None:
    photo = Image.new("RGB", (40, 30), "red")
    photo.paste("blue", (8, 3, 32, 27))  # the center crop
    result = explainer.classify(photo, model="tiny", feature_maps=["conv"])
    sheet = result.feature_maps["conv"].to_image(photo)
    red, green, blue = np.moveaxis(np.asarray(sheet, np.int16), 2, 0)
    assert ((blue > 200) & (red < 50)).sum() > 1000
    assert ((red > 150) & (green < 60)).sum() == 0
