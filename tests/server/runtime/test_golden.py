"""The golden gate: a bundle whose outputs differ from its reference is rejected."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image
from support.alterations import Arrays, change_weight, rewrite_golden
from support.explained import write_explained
from support.images import encode
from support.loading import load, only_refusal
from support.tiny import SIDE, write_tiny
from support.unsupported_heat import write_unsupported_heat

from convscope.server.repository.catalog import Target
from convscope.server.repository.rejection import Rejection
from convscope.server.runtime.model import Model, ModelOutput
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import manifest_pb2 as pb

MEANS = "feature_map_means/conv"


def rejected(root: Path, change: Callable[[Arrays], Any], *, preload: bool = False) -> Rejection:
    rewrite_golden(write_tiny(root, "bad"), change)
    rejection = only_refusal(root, preload_feature_maps=preload)
    assert rejection.reason == "golden"
    return rejection


def scaled(name: str, factor: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = np.asarray(arrays[name], np.float32) * np.float32(factor)

    return change


def with_array(name: str, array: NDArray[np.generic]) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: array})


# Graphs with different outputs


def rejected_weights(
    root: Path, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> str:
    write_tiny(root, "bad", alter_graph=change_weight("dense", change))
    rejection = only_refusal(root)
    assert rejection.reason == "golden"
    return rejection.message


def test_other_top_1_is_rejected(root: Path) -> None:
    message = rejected_weights(root, lambda dense: dense[:, ::-1])
    assert message == "golden input 0 is 'blue' here and was 'red' in the reference"


def test_other_probability_is_rejected(root: Path) -> None:
    message = rejected_weights(root, lambda dense: dense * np.float32(0.5))
    assert "a golden probability differs by 0.0" in message
    assert "at most 0.0300 is allowed" in message


@pytest.mark.parametrize("preload", [False, True])
def test_the_session_that_serves_is_compared_whatever_others_return(
    root: Path, monkeypatch: pytest.MonkeyPatch, preload: bool
) -> None:
    write_tiny(root, "bad")
    run = Model.run

    def run_wrongly(model: Model, inputs: Any, **options: Any) -> ModelOutput:
        output = run(model, inputs, **options)
        if options.get("feature_maps") or model.manifest.model != "bad":
            return output
        return output._replace(probabilities=output.probabilities[:, ::-1])

    monkeypatch.setattr(Model, "run", run_wrongly)
    rejection = only_refusal(root, preload_feature_maps=preload)
    assert "is 'blue' here and was 'red' in the reference" in rejection.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_graph_that_is_not_finite_is_rejected(root: Path, value: float) -> None:
    message = rejected_weights(root, lambda dense: np.full_like(dense, value))
    assert message == "the graph's output 'probabilities' is not finite"


def test_tolerance_is_the_manifest_s(root: Path) -> None:
    def allow(manifest: pb.ModelManifest) -> None:
        manifest.golden.probability_tolerance = 0.2

    halve = change_weight("dense", lambda dense: dense * np.float32(0.5))
    write_tiny(root, "tolerant", alter_graph=halve, alter_manifest=allow)
    assert load(root).is_ready("tolerant")


def test_other_preprocessing_is_rejected(root: Path) -> None:
    pixels = np.full((100, 100, 3), (20, 30, 220), np.uint8)
    pixels[45:55, 45:55] = (220, 30, 20)
    photo = np.frombuffer(encode(Image.fromarray(pixels)), np.uint8)
    answers = answer_of(load(root).resolve(Target("good")), photo)

    def look_closer(manifest: pb.ModelManifest) -> None:
        manifest.preprocessing.resize.shortest_edge = 200

    def change(arrays: Arrays) -> None:
        arrays["input_0"] = photo
        arrays["probabilities"] = np.concatenate([answers, arrays["probabilities"][1:]])

    rewrite_golden(root / "good" / "1", change)
    rewrite_golden(write_tiny(root, "bad", alter_manifest=look_closer), change)
    rejection = only_refusal(root)
    assert rejection.message == "golden input 0 is 'red' here and was 'blue' in the reference"


def answer_of(version: LoadedVersion, photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The probabilities of one photo, [1, classes]."""
    if version.preprocessor is None:
        raise TypeError("the version accepts no images")
    image = version.preprocessor.decode(photo.tobytes())
    return version.model.run(image[np.newaxis]).probabilities


# A golden input that can't be decoded


def test_input_that_is_no_image_is_rejected(root: Path) -> None:
    message = rejected(root, with_array("input_1", np.arange(9, dtype=np.uint8))).message
    assert "golden input 1 can't be decoded" in message
    assert "not an image" in message


# Feature maps, which are compared when they are preloaded


def test_feature_maps_are_compared_when_preloaded(root: Path) -> None:
    message = rejected(root, scaled(MEANS, 2), preload=True).message
    assert "a channel mean of 'conv' differs by" in message
    assert "at most 5% of it is allowed" in message


def test_feature_maps_are_not_compared_otherwise(root: Path) -> None:
    rewrite_golden(write_tiny(root, "tiny"), scaled(MEANS, 2))
    assert load(root).is_ready("tiny")


def test_missing_means_are_rejected(root: Path) -> None:
    message = rejected(root, lambda arrays: arrays.pop(MEANS)).message
    assert f"golden.npz lacks {MEANS!r}" in message


def test_means_of_nothing_but_zeros_are_rejected(root: Path) -> None:
    rejected(root, scaled(MEANS, 0), preload=True)


# Heat, which is compared in a session that is closed again


def explained(root: Path, change: Callable[[Arrays], Any]) -> None:
    rewrite_golden(write_explained(root, "bad"), change)


def test_heat_is_compared_and_its_session_is_closed(root: Path) -> None:
    write_explained(root, "explained")
    model = load(root).resolve(Target("explained")).model
    assert (model.unexplained, model.has_explained_session) == (None, False)


@pytest.mark.parametrize("factor", [0.8, -1])
def test_other_heat_is_rejected(root: Path, factor: float) -> None:
    explained(root, scaled("heat/-1", factor))
    rejection = only_refusal(root)
    assert rejection.reason == "golden"
    assert "the heat of the best class differs by" in rejection.message


def test_missing_heat_is_rejected(root: Path) -> None:
    explained(root, lambda arrays: arrays.pop("heat/-1"))
    assert "golden.npz lacks 'heat/-1'" in only_refusal(root).message


def test_heat_that_fails_for_a_golden_input_is_rejected(root: Path) -> None:
    def alter(graph: onnx.ModelProto) -> None:
        (sides,) = [one for one in graph.graph.initializer if one.name == "map_sides"]
        sides.CopyFrom(numpy_helper.from_array(np.array([SIDE + 1, SIDE]), "map_sides"))

    write_explained(root, "odd", alter_graph=alter)
    rejection = only_refusal(root)
    assert rejection.reason == "golden"
    assert "the graph fails for a golden input" in rejection.message


def test_version_whose_heat_can_not_run_serves_without_explanations(root: Path) -> None:
    write_unsupported_heat(root, "odd")
    version = load(root).resolve(Target("odd"))
    assert "cpu can't run the graph" in str(version.model.unexplained)
    assert not version.is_explained
    assert version.model.run(np.zeros((1, SIDE, SIDE, 3), np.uint8)).probabilities.shape == (1, 3)
