"""The command `explain`, and the other commands on a bundle with explanations."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.alterations import rewrite_golden
from support.bundles import check_bundle
from support.explained import write_explained
from support.tiny import SIDE, write_extractor, write_nan_for_black, write_signal, write_tiny
from typer.testing import CliRunner, Result

from convscope.exporter.cli import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def succeeded(*arguments: object) -> str:
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def explained(tmp_path: Path) -> Path:
    succeeded("explain", write_tiny(tmp_path))
    return tmp_path / "tiny" / "2"


def test_a_new_version_has_explanations(tmp_path: Path) -> None:
    before = write_tiny(tmp_path)
    content = {path.name: path.read_bytes() for path in before.iterdir()}
    printed = succeeded("explain", before)
    assert "heat      16 × 16 for each class, from the tensor 'conv'" in printed
    assert f"published {tmp_path / 'tiny' / '2'}" in printed
    assert {path.name: path.read_bytes() for path in before.iterdir()} == content
    bundle, _, golden = check_bundle(tmp_path / "tiny" / "2")
    assert bundle.manifest.provenance.parent == "tiny/1"
    assert bundle.manifest.explanation.linear
    by_hand = check_bundle(write_explained(tmp_path / "by_hand"))[2]
    assert golden.heat is not None
    assert by_hand.heat is not None
    np.testing.assert_allclose(golden.heat, by_hand.heat, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(golden.probabilities, by_hand.probabilities)


def test_the_new_version_may_have_a_chosen_number(tmp_path: Path) -> None:
    bundle = write_tiny(tmp_path)
    assert f"published {tmp_path / 'tiny' / '7'}" in succeeded("explain", bundle, "--version", 7)
    done = run("explain", bundle, "--version", 1)
    assert done.exit_code == 1
    assert "tiny v1 exists" in done.stderr


def test_bundles_that_can_not_be_explained_are_rejected(tmp_path: Path, explained: Path) -> None:
    for bundle, reason in (
        (explained, "tiny/2 has explanations already"),
        (write_extractor(tmp_path, "bank"), "bank/1 has no classes, so there is nothing to"),
        (write_signal(tmp_path), "no tensor that every path crosses has channels and several"),
        (write_nan_for_black(tmp_path, "odd"), None),
    ):
        done = run("explain", bundle)
        assert done.exit_code == (0 if reason is None else 1), done.output
        assert reason is None or reason in done.stderr


def test_verify_and_describe_show_the_explanations(explained: Path) -> None:
    printed = succeeded("verify", explained)
    assert "3 classes, 1 feature map, explanations" in printed
    assert "heat within" in printed
    described = succeeded("describe", explained)
    assert (
        "explanations   heat of 16 × 16 for each class, by the gradient at the graph's "
        "tensor 'conv', and adds up to" in described
    )
    values = json.loads(succeeded("describe", explained, "--json"))
    assert values["explanation"] == {"tensor": "conv", "shape": [4, SIDE, SIDE], "linear": True}
    assert (
        json.loads(succeeded("describe", write_tiny(explained.parents[1], "plain"), "--json"))[
            "explanation"
        ]
        is None
    )


def test_verify_rejects_other_heat(explained: Path) -> None:
    rewrite_golden(explained, lambda arrays: arrays.update({"heat/-1": arrays["heat/-1"][::-1]}))
    done = run("verify", explained)
    assert done.exit_code == 1
    assert "the heat of the best class differs by" in done.stderr


def test_bundles_with_and_without_explanations_are_compared(
    tmp_path: Path, explained: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    with np.load(explained / "golden.npz") as golden:
        for index in range(3):
            (photos / f"{index}.png").write_bytes(golden[f"input_{index}"].tobytes())
    command = ("diff", tmp_path / "tiny" / "1", explained, "--images", photos)
    assert "largest difference of a probability 0" in " ".join(succeeded(*command).split())


def test_an_explained_graph_is_imported_again(tmp_path: Path, explained: Path) -> None:
    printed = succeeded(
        *("import", explained / "model.onnx", "--output", "logits", "--name", "again"),
        *("--scale", "1", "--repository", tmp_path),
    )
    assert "heat      16 × 16 for each class, from the tensor 'model/conv'" in printed
    _, model, _ = check_bundle(tmp_path / "again" / "1")
    assert [value.name for value in model.graph.input] == ["images", "classes"]


def test_import_leaves_explanations_out_on_request(tmp_path: Path, explained: Path) -> None:
    command = ("import", explained / "model.onnx", "--output", "logits", "--repository", tmp_path)
    assert "no explanations: left out" in succeeded(*command, "--scale", "1", "--no-explanations")
