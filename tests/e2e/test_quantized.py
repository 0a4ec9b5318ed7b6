"""An INT8 version on a real server: its results, its precision, and as a shadow of FP32."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.calls import sample, wait_until
from support.quantizable import images, write_quantizable
from support.server import ServerProcess
from typer.testing import CliRunner

from convscope.client import Client
from convscope.exporter.cli import app as exporter

pytestmark = pytest.mark.one_transport("compares the results of networks")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2 has explanations, version 3 is the same in INT8."""
    root = tmp_path_factory.mktemp("quantized")
    np.savez(root / "inputs.npz", x=images(200))
    run("explain", write_quantizable(root / "models"))
    bundle = root / "models" / "blocks" / "2"
    run("quantize", bundle, "--calibration", f"npz:{root / 'inputs.npz'}")
    run("shadow", "blocks", "3", "--repository", root / "models")
    return root / "models"


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    with ServerProcess(repository, "--versions", "=2", "--poll-seconds", "0.1") as process:
        yield process


def run(*arguments: object) -> None:
    done = CliRunner().invoke(exporter, list(map(str, arguments)))
    assert done.exit_code == 0, done.output


def photo(number: int) -> bytes:
    out = BytesIO()
    Image.fromarray(images(number + 1, seed=3)[-1]).save(out, "PNG")
    return out.getvalue()


def test_int8_returns_the_same_classes_with_maps_and_heat(server: ServerProcess) -> None:
    with Client(server.target) as client:
        for number in range(8):
            expected, found = (
                client.classify(
                    photo(number),
                    model="blocks",
                    version=version,
                    feature_maps=["map"],
                    explain=True,
                )
                for version in (2, 3)
            )
            assert found.version == 3
            assert found.top.label == expected.top.label
            assert found.top.probability == pytest.approx(expected.top.probability, abs=0.1)
            ours, theirs = found.feature_maps["map"].array, expected.feature_maps["map"].array
            assert np.abs(ours - theirs).max() < 0.1 * np.abs(theirs).max()
            heat, reference = found.explanations[0].array, expected.explanations[0].array
            assert np.corrcoef(heat.ravel(), reference.ravel())[0, 1] > 0.95


def test_the_precision_is_shown(server: ServerProcess) -> None:
    with Client(server.target) as client:
        assert client.model("blocks", version=3).precision == "int8"
        assert client.model("blocks", version=2).precision == "fp32"
    labels = {"model": "blocks", "version": "3", "provider": "cpu", "precision": "int8"}
    assert sample(server, "convscope_model_info", **labels) == 1


def test_a_shadow_in_int8_agrees_with_fp32(server: ServerProcess) -> None:
    def agreed() -> bool:
        with Client(server.target) as client:
            client.classify(photo(1), model="blocks")
        labels = {"version": "2", "shadow": "3", "model": "blocks", "outcome": "agreed"}
        return sample(server, "convscope_shadow_inputs_total", **labels) > 0

    wait_until(agreed)
    labels = {"version": "2", "shadow": "3", "model": "blocks", "outcome": "disagreed"}
    assert sample(server, "convscope_shadow_inputs_total", **labels) == 0
