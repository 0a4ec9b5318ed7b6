"""`canary` and `shadow`: the commands that set and end traffic splits."""

import json
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
from support.tiny import write_tiny
from typer.testing import CliRunner, Result

from convscope.exporter.cli import app


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for version in (1, 2, 3):
        write_tiny(tmp_path, version=version)
    (tmp_path / "tiny/aliases.json").write_text('{"champion": 1, "challenger": 2}')
    return tmp_path


def run(root: Path | str, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--repository", str(root)])


def splits(root: Path) -> object:
    return json.loads((root / "tiny/traffic.json").read_text())


def test_traffic_splits_are_set_changed_and_ended(root: Path) -> None:
    done = run(root, "canary", "tiny", "challenger", "--of", "champion")
    assert done.stdout == "canary: 0.05 of champion -> challenger\n"
    assert run(root, "shadow", "tiny", "3").stdout == "shadow: 1 -> v3\n"
    run(root, "canary", "tiny", "challenger", "--of", "champion", "--share", "0.5")
    assert splits(root) == {
        "canary": {"to": "challenger", "share": 0.5, "of": "champion"},
        "shadow": {"to": 3, "share": 1.0},
    }
    assert run(root, "canary", "tiny", "--stop").stdout == "canary: ended\n"
    assert run(root, "canary", "tiny", "--stop").stdout == "canary: not set\n"
    assert splits(root) == {"shadow": {"to": 3, "share": 1.0}}


def test_traffic_splits_of_a_remote_repository(root: Path) -> None:
    fsspec.filesystem("memory").put(str(root / "tiny"), "/splits/tiny", recursive=True)
    assert run("memory://splits", "shadow", "tiny", "2").exit_code == 0
    found = json.loads(fsspec.filesystem("memory").cat("/splits/tiny/traffic.json"))
    assert found == {"shadow": {"to": 2, "share": 1.0}}


def test_target_of_a_traffic_split_is_not_pruned(root: Path) -> None:
    run(root, "shadow", "tiny", "1")
    (root / "tiny/aliases.json").unlink()
    done = CliRunner().invoke(app, ["prune", "tiny", "--keep", "1", "--repository", str(root)])
    assert "kept tiny v1: named by shadow" in done.stdout
    assert "removed tiny v2" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("canary", "tiny", "7"), 1, "tiny has no version 7"),
        (("canary", "cat", "1"), 1, "no model 'cat'"),
        (("canary", "tiny", "champio"), 1, "tiny has no alias 'champio'; did you mean champion?"),
        (("canary", "tiny", "2", "--of", "best"), 1, "tiny has no alias 'best'"),
        (("shadow", "tiny"), 64, "use either a VERSION, by number or alias, or --stop"),
        (("shadow", "tiny", "2", "--share", "1.5"), 64, "--share: "),
    ],
    ids=str.split("version model alias of nothing share"),
)
def test_mistakes_are_reported(
    root: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run(root, *arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert not (root / "tiny/traffic.json").exists()


@pytest.mark.parametrize("text", ["[]", '{"canary": 2}', '{"canary": {"to": 2}}', '{"x": {}}'])
def test_invalid_traffic_file_is_named(root: Path, text: str) -> None:
    (root / "tiny/traffic.json").write_text(text)
    done = run(root, "shadow", "tiny", "2")
    assert done.exit_code == 1
    assert "tiny/traffic.json is not" in done.stderr
