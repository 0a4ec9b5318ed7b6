from pathlib import Path

import pytest
from rich.filesize import decimal
from support.tiny import write_tiny
from typer.testing import CliRunner, Result

from convscope.exporter.cli import app


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for version in (1, 2, 3, 9, 10):
        write_tiny(tmp_path, version=version)
    return tmp_path


def prune(root: Path, *options: str, model: str = "tiny") -> Result:
    return CliRunner().invoke(app, ["prune", model, *options, "--repository", str(root)])


def left(root: Path) -> list[int]:
    return sorted(int(path.name) for path in (root / "tiny").iterdir() if path.name.isdecimal())


def test_the_highest_numbers_are_kept(root: Path) -> None:
    assert prune(root, "--keep", "2").exit_code == 0
    assert left(root) == [9, 10]
    hidden = [path.name for path in (root / "tiny").iterdir() if path.name not in ("9", "10")]
    assert hidden == [".lock"]


def test_a_version_that_an_alias_names_stays(root: Path) -> None:
    (root / "tiny/aliases.json").write_text('{"champion": 2, "gone": 5}')
    done = prune(root, "--keep", "1")
    assert left(root) == [2, 10]
    assert "kept tiny v2: named by champion" in done.stdout


def test_prune_reports_what_was_removed_and_freed(root: Path) -> None:
    sizes = {
        version: sum(path.stat().st_size for path in (root / "tiny" / str(version)).iterdir())
        for version in (1, 2, 3)
    }
    printed = prune(root, "--keep", "2").stdout.splitlines()
    assert printed[:3] == [f"removed tiny v{v} ({decimal(size)})" for v, size in sizes.items()]
    assert printed[-1] == f"freed {decimal(sum(sizes.values()))}"


def test_a_dry_run_removes_nothing(root: Path) -> None:
    done = prune(root, "--keep", "2", "--dry-run")
    assert "would remove tiny v3" in done.stdout
    assert left(root) == [1, 2, 3, 9, 10]


def test_keeping_no_version_is_an_error(root: Path) -> None:
    done = prune(root, "--keep", "0")
    assert done.exit_code == 64
    assert "0 is out of range; it must be 1 or more" in done.stderr
    assert left(root) == [1, 2, 3, 9, 10]


def test_the_report_states_why_a_version_is_kept(root: Path) -> None:
    (root / "tiny/aliases.json").write_text('{"champion": 2, "newest": 10}')
    printed = prune(root, "--keep", "2").stdout
    assert "kept tiny v2: named by champion\n" in printed
    assert "kept tiny v9: one of the latest 2\n" in printed
    assert "kept tiny v10: named by newest\n" in printed


def test_keeping_more_than_exist_keeps_all(root: Path) -> None:
    assert "freed 0 bytes" in prune(root, "--keep", "50").stdout
    assert left(root) == [1, 2, 3, 9, 10]


def test_nothing_is_removed_while_the_aliases_cannot_be_read(root: Path) -> None:
    (root / "tiny/aliases.json").write_text("{")
    done = prune(root, "--keep", "1")
    assert done.exit_code == 1
    assert "tiny/aliases.json is not JSON" in done.stderr
    assert left(root) == [1, 2, 3, 9, 10]


def test_leftovers_of_a_killed_prune_are_removed_by_the_next(root: Path) -> None:
    (root / "tiny/1").rename(root / "tiny/.removed-1-0")
    prune(root, "--keep", "1")
    assert list((root / "tiny").glob(".removed-*")) == []


def test_an_unknown_model_suggests_the_similar_one(root: Path) -> None:
    done = prune(root, "--keep", "1", model="tinny")
    assert done.exit_code == 1
    assert "did you mean tiny?" in done.stderr
