import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.explained import write_explained
from support.tiny import write_signal, write_tiny
from typer.testing import CliRunner, Result

from convscope.exporter.cli import app
from convscope.v1 import manifest_pb2 as pb


def measured(manifest: pb.ModelManifest) -> None:
    manifest.provenance.architecture = "tiny_net"
    manifest.provenance.metrics.add(name="top1_accuracy", value=0.875, split="mnist test")
    manifest.provenance.created_at.FromDatetime(datetime(2026, 5, 4, 12, tzinfo=UTC))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tiny(tmp_path, alter_manifest=measured)
    write_tiny(tmp_path, version=10)
    write_tiny(tmp_path, version=9)
    write_signal(tmp_path)
    (tmp_path / "tiny/aliases.json").write_text('{"champion": 1, "best": 1}')
    return tmp_path


def versions(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["versions", *arguments, "--repository", str(root)])


def as_json(root: Path, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(versions(root, *arguments, "--json").stdout)
    return found


def test_every_version_of_every_model_is_listed_in_order(root: Path) -> None:
    found = [(row["model"], row["version"]) for row in as_json(root)]
    assert found == [("signal", 1), ("tiny", 1), ("tiny", 9), ("tiny", 10)]
    assert [row["version"] for row in as_json(root, "signal")] == [1]


def test_a_version_is_described(root: Path) -> None:
    row = as_json(root, "tiny")[0]
    size = sum((root / "tiny/1" / name).stat().st_size for name in ("model.onnx", "golden.npz"))
    assert row == {
        "model": "tiny",
        "version": 1,
        "aliases": ["best", "champion"],
        "architecture": "tiny_net",
        "top1": [{"value": 0.875, "split": "mnist test"}],
        "size_bytes": size,
        "feature_maps": ["conv"],
        "heat": [],
        "created_at": "2026-05-04T12:00:00+00:00",
        "problem": "",
    }


def test_versions_with_explanations_are_listed_with_the_shape_of_their_heat(root: Path) -> None:
    write_explained(root, version=11)
    assert [row["heat"] for row in as_json(root, "tiny")] == [[], [], [], [16, 16]]
    assert "16 × 16" in versions(root, "tiny").stdout


def test_the_table_loses_nothing_when_it_is_piped(root: Path) -> None:
    printed = versions(root, "tiny").stdout
    for text in ("champion", "best", "tiny_net", "0.8750", "mnist test", "2026-05-04", "v10"):
        assert text in printed
    assert "…" not in printed


def test_a_damaged_version_hides_no_others(root: Path) -> None:
    (root / "tiny/9/manifest.json").write_text("{")
    rows = as_json(root, "tiny")
    assert [row["problem"] != "" for row in rows] == [False, True, False]
    done = versions(root, "tiny")
    assert done.exit_code == 0
    assert "tiny/9/manifest.json is not a manifest" in done.stdout


@pytest.mark.parametrize("name", [".tmp-1", "5"])
def test_incomplete_versions_are_not_listed(root: Path, name: str) -> None:
    (root / "tiny" / name).mkdir()
    (root / "tiny" / name / "model.onnx").write_bytes(b"half")
    assert [row["version"] for row in as_json(root, "tiny")] == [1, 9, 10]


def test_an_unknown_model_names_those_that_exist(root: Path) -> None:
    done = versions(root, "resnet50")
    assert done.exit_code == 1
    assert "no model 'resnet50'" in done.stderr
    assert "it has: signal, tiny" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("versions",),
        ("promote", "tiny", "10", "--alias", "best"),
        ("prune", "tiny", "--keep", "1"),
        ("export", "lenet", "--random-weights"),
        ("train", "lenet", "--dataset", "mnist_sample"),
    ],
)
@pytest.mark.parametrize(
    ("part", "what"), [("tiny", "a model"), ("tiny/1", "one version of a model")]
)
def test_part_of_a_repository_is_not_taken_for_one(
    root: Path, command: tuple[str, ...], part: str, what: str
) -> None:
    before = sorted(root.rglob("*"))
    done = CliRunner().invoke(app, [*command, "--repository", str(root / part)])
    assert done.exit_code == 1
    message = " ".join(done.stderr.split())
    assert f"{part} is {what}; the repository is {root}" in message
    assert sorted(root.rglob("*")) == before
