"""A model with sigmoid: each class has its own probability."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from support.calls import connected, image_request, sample
from support.images import encode
from support.oip import arrays, image_bytes_request, oip_connected
from support.server import ServerProcess
from support.tiny import write_tiny
from typer.testing import CliRunner

from convscope.client import Client
from convscope.client.cli import app

pytestmark = pytest.mark.one_transport("compares the results of networks")

PREPROCESSING = "shorter edge 20, center crop 16, RGB"
WHITE = encode(Image.new("RGB", (40, 40), (250, 250, 250)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    repository = tmp_path_factory.mktemp("repository")
    write_tiny(repository, activation="Sigmoid")
    with ServerProcess(repository) as process:
        yield process


def test_several_classes_can_be_probable(server: ServerProcess) -> None:
    with Client(server.target) as client:
        classes = client.classify(WHITE, model="tiny", top_k=3).classes
        assert len(client.classify(WHITE, model="tiny", min_probability=0.9).classes) == 3
        assert client.model("tiny").activation == "sigmoid"
    probabilities = [score.probability for score in classes]
    assert probabilities == sorted(probabilities, reverse=True)
    assert min(probabilities) > 0.9


def test_both_protocols_return_the_sigmoid_of_the_logits(server: ServerProcess) -> None:
    with oip_connected(server) as oip:
        values = arrays(oip.ModelInfer(image_bytes_request(WHITE)))
    expected = 1 / (1 + np.exp(-values["logits"]))
    np.testing.assert_allclose(values["probabilities"], expected, rtol=1e-5)
    with connected(server) as stub:
        (result,) = stub.Classify(image_request(WHITE)).results
    found = {score.index: score.probability for score in result.prediction.classes}
    np.testing.assert_allclose([found[i] for i in range(3)], expected[0], rtol=1e-4)


def test_entropy_is_not_observed(server: ServerProcess) -> None:
    with connected(server) as stub:
        stub.Classify(image_request(WHITE))
    assert sample(server, "convscope_top1_probability_count", model="tiny") > 0
    assert sample(server, "convscope_prediction_entropy_ratio_count", model="tiny") == 0


def test_the_command_shows_the_activation(server: ServerProcess) -> None:
    shown = CliRunner().invoke(app, ["models", "tiny", "--server", server.target])
    assert "sigmoid, an independent probability for each class" in shown.stdout
    assert "preprocessing" in shown.stdout
    assert PREPROCESSING in shown.stdout


def test_the_sdk_and_json_show_the_preprocessing(server: ServerProcess) -> None:
    with Client(server.target) as client:
        assert client.model("tiny").preprocessing == PREPROCESSING
    shown = CliRunner().invoke(app, ["models", "tiny", "--server", server.target, "--json"])
    assert json.loads(shown.stdout)["preprocessing"] == PREPROCESSING
