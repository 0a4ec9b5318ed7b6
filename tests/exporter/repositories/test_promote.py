import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.tiny import write_tiny
from typer.testing import CliRunner, Result

from convscope.bundle import aliases
from convscope.bundle.history import HISTORY_LENGTH
from convscope.bundle.layout import HISTORY
from convscope.bundle.opening import open_repository
from convscope.exporter.cli import app


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for version in (1, 2, 3):
        write_tiny(tmp_path, version=version)
    return tmp_path


def promote(root: Path, *arguments: str, model: str = "tiny", alias: str = "champion") -> Result:
    options = ["--alias", alias, "--repository", str(root)]
    return CliRunner().invoke(app, ["promote", model, *arguments, *options])


def named(root: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((root / "tiny/aliases.json").read_text())
    return found


def test_promote_prints_the_old_and_the_new_version(root: Path) -> None:
    assert promote(root, "1").stdout == "champion: none -> v1\n"
    assert promote(root, "3").stdout == "champion: v1 -> v3\n"
    assert promote(root, "3").stdout == "champion: v3 already\n"
    promote(root, "2", alias="challenger")
    assert named(root) == {"champion": 3, "challenger": 2}


def test_back_returns_step_by_step_to_what_was_named_before(root: Path) -> None:
    for version in ("1", "2", "3"):
        promote(root, version)
    assert promote(root, "--back").stdout == "champion: v3 -> v2\n"
    assert promote(root, "--back").stdout == "champion: v2 -> v1\n"
    done = promote(root, "--back")
    assert done.exit_code == 1
    assert "champion of tiny named no other existing version before v1" in done.stderr


def test_an_alias_that_was_removed_comes_back(root: Path) -> None:
    promote(root, "2")
    assert promote(root, "--remove").stdout == "champion: v2 -> none\n"
    assert named(root) == {}
    assert promote(root, "--back").stdout == "champion: none -> v2\n"


def test_back_after_a_crash_between_history_and_alias_skips_the_current_version(
    root: Path,
) -> None:
    promote(root, "1")
    promote(root, "2")
    history = root / "tiny" / HISTORY
    history.write_text(json.dumps({"champion": [1, 2]}))  # v3 was about to be named
    assert promote(root, "--back").stdout == "champion: v2 -> v1\n"


def test_the_history_is_bounded(root: Path) -> None:
    repository = open_repository(str(root))
    for turn in range(2 * HISTORY_LENGTH):
        aliases.promote(repository, "tiny", 1 + turn % 2, "champion")
    history = json.loads((root / "tiny" / HISTORY).read_text())
    assert len(history["champion"]) == HISTORY_LENGTH


def test_concurrent_promotions_lose_no_alias(root: Path) -> None:
    repository = open_repository(str(root))
    with ThreadPoolExecutor(8) as pool:
        names = [f"alias-{index}" for index in range(40)]
        list(pool.map(lambda name: aliases.promote(repository, "tiny", 1, name), names))
    assert named(root) == dict.fromkeys(names, 1)


@pytest.mark.parametrize("alias", ["7", "", "Upper", "-dash", "a b", "x" * 64])
def test_an_invalid_alias_is_rejected(root: Path, alias: str) -> None:
    done = promote(root, "1", alias=alias)
    assert done.exit_code == 1
    assert "can't be an alias; use up to 63 of a-z" in done.stderr
    assert not (root / "tiny/aliases.json").exists()


def test_an_unknown_model_suggests_the_similar_one(root: Path) -> None:
    done = promote(root, "1", model="tinny")
    assert done.exit_code == 1
    assert f"no model 'tinny' in {root}; did you mean tiny?" in done.stderr


def test_an_unknown_version_names_those_that_exist(root: Path) -> None:
    done = promote(root, "9")
    assert done.exit_code == 1
    assert "tiny has no version 9; it has: 1, 2, 3" in done.stderr


@pytest.mark.parametrize("option", ["--remove", "--back"])
def test_an_unknown_alias_suggests_the_similar_one(root: Path, option: str) -> None:
    promote(root, "1")
    done = promote(root, option, alias="champoin")
    assert done.exit_code == 1
    assert "tiny has no alias 'champoin'; did you mean champion?" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("1", "--back"), ("--back", "--remove")])
def test_contradictory_options_are_a_usage_error(root: Path, arguments: tuple[str, ...]) -> None:
    assert promote(root, *arguments).exit_code == 64


@pytest.mark.parametrize("text", ["no JSON", "[1]", '{"champion": "3"}', '{"champion": 0}'])
def test_aliases_that_cannot_be_read_are_left_as_they_are(root: Path, text: str) -> None:
    (root / "tiny/aliases.json").write_text(text)
    done = promote(root, "1")
    assert done.exit_code == 1
    assert "tiny/aliases.json is not " in done.stderr
    assert (root / "tiny/aliases.json").read_text() == text


def test_a_directory_without_models_is_rejected(tmp_path: Path) -> None:
    done = promote(tmp_path / "nowhere", "1")
    assert done.exit_code == 1
    assert f"{tmp_path / 'nowhere'} is not a repository of bundles" in done.stderr
