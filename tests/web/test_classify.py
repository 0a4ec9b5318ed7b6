"""POST /v1/models/{model}:classify: every kind of body, and everything that it returns."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.images import encode, picture
from support.server import ServerProcess
from support.tiny import SIGNAL_LENGTH
from support.web_process import WebProcess

from convscope.client import Client, Explain, FeatureMapSelection, Rank, Tensor
from convscope.web.replies import ClassifyReply

pytestmark = pytest.mark.one_transport("sends HTTP to the web process")

RED = encode(Image.new("RGB", (60, 40), (220, 20, 20)))
BLUE = encode(Image.new("RGB", (30, 90), (20, 20, 220)))
TINY, SEEN = "/v1/models/tiny:classify", "/v1/models/seen:classify"


def results(reply: Any) -> list[dict[str, Any]]:
    """Check a reply against its documentation, and return its results."""
    assert reply.status == 200, reply.body
    ClassifyReply.model_validate_json(reply.body)
    found: list[dict[str, Any]] = reply.json["results"]
    return found


def labels(reply: Any) -> list[str]:
    return [result["predictions"][0]["label"] for result in results(reply)]


def npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "content_type", ["image/png", "image/jpeg", "application/octet-stream", ""]
)
def test_a_body_is_an_image_whatever_it_is_called(web: WebProcess, content_type: str) -> None:
    assert labels(web.post(TINY, RED, content_type)) == ["red"]


def test_a_form_has_one_or_more_images(web: WebProcess) -> None:
    assert labels(web.post_form(TINY, RED)) == ["red"]
    assert labels(web.post_form(TINY, BLUE, RED, BLUE)) == ["blue", "red", "blue"]


def test_json_has_images_in_base64(web: WebProcess) -> None:
    reply = web.post_json(TINY, {"images": [in_base64(BLUE), in_base64(RED)]})
    assert labels(reply) == ["blue", "red"]


def test_pixels_of_any_size_are_resized_by_the_server(web: WebProcess) -> None:
    pixels = np.full((33, 50, 3), (20, 220, 20), np.uint8)
    assert labels(web.post(TINY, npy(pixels), "application/x-npy")) == ["green"]
    assert labels(web.post_form(TINY, npy(pixels[:, :, ::-1]), RED)) == ["green", "red"]


def test_an_array_is_the_input_of_a_model_for_tensors(
    web: WebProcess, grpc_server: ServerProcess
) -> None:
    signal = np.random.default_rng(0).normal(size=(1, SIGNAL_LENGTH)).astype(np.float32)
    (result,) = results(web.post("/v1/models/signal:classify", npy(signal)))
    with Client(grpc_server.target) as client:
        expected = client.classify(Tensor(signal), model="signal")
    assert [p["probability"] for p in result["predictions"]] == [
        score.probability for score in expected.classes
    ]
    assert result["crop"] is None


def test_the_number_of_classes_and_the_version_are_chosen(web: WebProcess) -> None:
    reply = web.post(f"{TINY}?top_k=2&version=1", RED)
    (result,) = results(reply)
    assert len(result["predictions"]) == 2
    assert (reply.json["model"], reply.json["version"], reply.json["provider"]) == (
        "tiny",
        1,
        "cpu",
    )
    assert labels(web.post(f"{TINY}?version=champion", RED)) == ["red"]
    (result,) = results(web.post(f"{TINY}?min_probability=0.9", RED))
    assert [p["label"] for p in result["predictions"]] == ["red"]


def test_feature_maps_are_pictures_of_the_strongest_channels(
    web: WebProcess, grpc_server: ServerProcess
) -> None:
    photo = encode(picture())
    (result,) = results(web.post(f"{TINY}?feature_maps=conv&strongest=2", photo))
    (feature_map,) = result["feature_maps"]
    with Client(grpc_server.target) as client:
        selection = [FeatureMapSelection("conv", strongest=2)]
        expected = client.classify(photo, model="tiny", feature_maps=selection)
    array = expected.feature_maps["conv"].array
    assert (feature_map["name"], feature_map["shape"]) == ("conv", list(array.shape))
    assert [c["index"] for c in feature_map["channels"]] == [
        *expected.feature_maps["conv"].channels
    ]
    for channel, values in zip(feature_map["channels"], array, strict=True):
        assert channel["strength"] == pytest.approx(float(values.mean()), rel=1e-5)
        gray = np.asarray(Image.open(io.BytesIO(base64.b64decode(channel["png"]))))
        low, high = channel["low"], channel["high"]
        shown = np.clip((values - low) / (high - low), 0, 1) * 255
        assert np.abs(gray - shown).max() <= 1


def test_feature_maps_are_arrays_for_programs(web: WebProcess, grpc_server: ServerProcess) -> None:
    photo = encode(picture())
    query = "feature_maps=stages&feature_map_format=npy&channels=3,0"
    (result,) = results(web.post(f"{TINY}?{query}", photo))
    (feature_map,) = result["feature_maps"]
    array = np.load(io.BytesIO(base64.b64decode(feature_map["npy"])))
    with Client(grpc_server.target) as client:
        expected = client.classify(photo, model="tiny", feature_maps="conv")
    np.testing.assert_array_equal(array, expected.feature_maps["conv"].array[[3, 0]])
    assert feature_map["channels"] == [3, 0]


def test_a_filter_bank_has_all_its_maps_and_no_classes(web: WebProcess) -> None:
    (result,) = results(web.post("/v1/models/bank:classify?feature_maps=all", RED))
    assert result["predictions"] == []
    assert [len(m["channels"]) for m in result["feature_maps"]] == [4]


def test_explanations_are_those_of_the_client(web: WebProcess, grpc_server: ServerProcess) -> None:
    photo = encode(picture())
    query = "explain=%231&explain=blue&explain=0&against=green"
    (result,) = results(web.post(f"{SEEN}?{query}", photo))
    with Client(grpc_server.target) as client:
        expected = client.classify(
            photo, model="seen", explain=[Rank(1), "blue", 0], against="green"
        )
    assert len(result["explanations"]) == 3
    for found, explanation in zip(result["explanations"], expected.explanations, strict=True):
        heat = np.array(found["values"], np.float32)
        np.testing.assert_array_equal(heat, explanation.array)
        assert found["shape"] == list(explanation.array.shape)
        assert (found["label"], found["class_index"]) == (explanation.label, explanation.index)
        assert found["against"]["label"] == "green"
        assert (found["method"], found["logit"]) == ("grad-cam", explanation.logit)
        assert (found["remainder"], found["share"], found["limit"]) == (
            explanation.remainder,
            explanation.share,
            explanation.limit,
        )
    crop = expected.crop
    assert crop is not None
    assert result["crop"] == {
        "x": crop.left,
        "y": crop.top,
        "width": crop.right - crop.left,
        "height": crop.bottom - crop.top,
        "photo_width": 120,
        "photo_height": 80,
    }


def test_every_method_of_explanations_is_available(
    web: WebProcess, grpc_server: ServerProcess
) -> None:
    for method in ("cam", "eigen-cam", "occlusion"):
        (result,) = results(web.post(f"{SEEN}?explain=%231&method={method}", RED))
        with Client(grpc_server.target) as client:
            expected = client.classify(RED, model="seen", explain=Explain(method=method))
        (found,) = result["explanations"]
        heat = np.array(found["values"], np.float32)
        np.testing.assert_array_equal(heat, expected.explanations[0].array)


def test_one_bad_image_of_several_has_an_error_of_its_own(web: WebProcess) -> None:
    bad, good = results(web.post_form(TINY, b"no image", RED))
    assert bad["error"]["code"] == "INVALID_ARGUMENT"
    assert "not an image" in bad["error"]["message"]
    assert (bad["predictions"], good["error"]) == ([], None)
    assert good["predictions"][0]["label"] == "red"


def test_the_time_of_each_stage_is_reported(web: WebProcess) -> None:
    timing = web.post(TINY, RED).json["timing_ms"]
    assert timing["total"] >= timing["infer"] > 0
