"""A network that returns NaN for some images: an error of those images, and of nothing else."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image
from support.calls import connected, image_request, rejection, sample
from support.images import encode
from support.oip import arrays, image_bytes_request, oip_connected
from support.server import ServerProcess
from support.tiny import write_nan_for_black
from typer.testing import CliRunner

from convscope.client import Client, InternalError
from convscope.client.cli import app as client_app

BLACK = encode(Image.new("RGB", (40, 40)))
RED = encode(Image.new("RGB", (40, 40), (220, 30, 20)))
MESSAGE = "tiny v1 returned NaN or infinity, so there is no result"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    repository = tmp_path_factory.mktemp("repository")
    path = write_nan_for_black(repository) / "manifest.json"
    recorded = {"nonfinite_results": True, "nonfinite_inputs": ["a black image", "noise 3"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | recorded))
    with ServerProcess(repository) as process:
        yield process


def sums(server: ServerProcess) -> dict[str, float]:
    return {
        name: sample(server, f"convscope_{name}", model="tiny", version="1")
        for name in (
            "top1_probability_count",
            "top1_probability_sum",
            "prediction_entropy_ratio_count",
            "prediction_entropy_ratio_sum",
        )
    }


def test_only_the_image_without_a_finite_result_fails(server: ServerProcess) -> None:
    with connected(server) as stub:
        response = stub.Classify(image_request(RED, BLACK, RED))
    kinds = [result.WhichOneof("outcome") for result in response.results]
    assert kinds == ["prediction", "error", "prediction"]
    assert response.results[0].prediction.classes[0].label == "red"
    error = response.results[1].error
    assert error.code == grpc.StatusCode.INTERNAL.value[0]
    assert error.message.startswith(f"input 1 of 3: {MESSAGE}")


def test_the_index_counts_inputs_that_fail_for_other_reasons(server: ServerProcess) -> None:
    request = image_request(b"no image", BLACK, RED)
    request.inputs.add()
    request.inputs.add().encoded_image = BLACK
    with connected(server) as stub:
        results = stub.Classify(request).results
    messages = [result.error.message for result in results]
    assert messages[1].startswith("input 1 of 5: tiny v1")
    assert messages[4].startswith("input 4 of 5: tiny v1")


def test_a_single_image_fails_with_the_status_of_the_call(server: ServerProcess) -> None:
    with connected(server) as stub:
        code, message = rejection(stub.Classify, image_request(BLACK))
    assert code is grpc.StatusCode.INTERNAL
    assert message.startswith(f"input 0 of 1: {MESSAGE}")


@pytest.mark.parametrize(("images", "index"), [((BLACK,), 0), ((RED, BLACK), 1)])
def test_the_open_inference_protocol_names_the_input(
    server: ServerProcess, images: tuple[bytes, ...], index: int
) -> None:
    with oip_connected(server) as oip:
        code, message = rejection(oip.ModelInfer, image_bytes_request(*images))
        assert code is grpc.StatusCode.INTERNAL
        assert message.startswith(f"input {index} of {len(images)}: {MESSAGE}")
        values = arrays(oip.ModelInfer(image_bytes_request(RED)))
    assert np.isfinite(values["probabilities"]).all()


def test_no_metric_counts_it(server: ServerProcess) -> None:
    with connected(server) as stub:
        stub.Classify(image_request(RED))
        before = sums(server)
        response = stub.Classify(image_request(BLACK, RED, BLACK))
    after = sums(server)
    assert [r.HasField("error") for r in response.results] == [True, False, True]
    counts = {name: after[name] - before[name] for name in after if name.endswith("count")}
    assert set(counts.values()) == {1.0}
    assert np.isfinite(list(after.values())).all()
    assert "NaN" not in server.metrics()


def test_the_command_prints_valid_json(server: ServerProcess, tmp_path: Path) -> None:
    paths = [tmp_path / "black.png", tmp_path / "red.png"]
    for path, data in zip(paths, (BLACK, RED), strict=True):
        path.write_bytes(data)
    command = [sys.executable, "-m", "convscope.client", "classify", *map(str, paths)]
    options = ["--model", "tiny", "--server", server.target, "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2  # some images failed
    assert "Traceback" not in done.stderr
    first, second = (
        json.loads(line, parse_constant=pytest.fail) for line in done.stdout.split("\n") if line
    )
    assert first["error"]["code"] == "INTERNAL"
    assert second["classes"][0]["label"] == "red"


def test_the_description_of_the_model_names_the_checked_images(server: ServerProcess) -> None:
    with Client(server.target) as client:
        info = client.model("tiny")
    assert (info.nonfinite_results, info.nonfinite_inputs) == (True, ("a black image", "noise 3"))
    command = ["models", "tiny", "--server", server.target]
    shown = CliRunner().invoke(client_app, command, env={"COLUMNS": "120"}).stdout
    assert re.search("not finite +NaN or infinity for a black image, noise 3; the server", shown)
    as_json = json.loads(CliRunner().invoke(client_app, [*command, "--json"]).stdout)
    assert as_json["nonfinite_inputs"] == ["a black image", "noise 3"]


def test_the_client_raises_it(server: ServerProcess) -> None:
    with Client(server.target) as client, pytest.raises(InternalError, match="returned NaN"):
        client.classify(BLACK, model="tiny")
