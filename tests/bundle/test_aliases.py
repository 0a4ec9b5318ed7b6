"""Aliases and their history, which works like undo."""

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
from support.tiny import write_tiny

from convscope.bundle.aliases import go_back, parse_aliases, promote, read_aliases, remove_alias
from convscope.bundle.errors import InvalidValueError, RepositoryError, UnknownNameError
from convscope.bundle.layout import HISTORY
from convscope.bundle.opening import open_repository
from convscope.bundle.repository import Repository


@pytest.fixture(params=["local", "remote"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Repository]:
    for version in (1, 2, 3, 4):
        write_tiny(tmp_path, version=version)
    if request.param == "local":
        yield open_repository(str(tmp_path))
        return
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "tiny"), "/aliases/tiny", recursive=True)
    yield open_repository("memory://aliases")
    memory.rm("/aliases", recursive=True)


def champion(repository: Repository) -> int | None:
    return read_aliases(repository, "tiny").get("champion")


def back(repository: Repository) -> int | None:
    return go_back(repository, "tiny", "champion").after


def test_back_undoes_one_promotion_after_the_other(repository: Repository) -> None:
    for version in (1, 2, 3, 4):
        promote(repository, "tiny", version, "champion")
    assert [back(repository) for _ in range(3)] == [3, 2, 1]
    with pytest.raises(RepositoryError, match="champion of tiny named no other existing version"):
        back(repository)
    assert champion(repository) == 1


def test_promotion_after_back_continues_from_there(repository: Repository) -> None:
    for version in (1, 2, 3):
        promote(repository, "tiny", version, "champion")
    assert back(repository) == 2  # v3 is undone, and no longer part of the history
    promote(repository, "tiny", 4, "champion")
    assert [back(repository), back(repository)] == [2, 1]


def test_back_after_a_removal_restores_the_alias(repository: Repository) -> None:
    promote(repository, "tiny", 1, "champion")
    promote(repository, "tiny", 2, "champion")
    remove_alias(repository, "tiny", "champion")
    assert champion(repository) is None
    assert [back(repository), back(repository)] == [2, 1]


def test_back_skips_versions_that_were_removed(repository: Repository) -> None:
    for version in (1, 2, 3):
        promote(repository, "tiny", version, "champion")
    repository.remove("tiny", 2)
    assert back(repository) == 1


def test_aliases_have_separate_histories(repository: Repository) -> None:
    promote(repository, "tiny", 1, "champion")
    promote(repository, "tiny", 3, "challenger")
    promote(repository, "tiny", 2, "champion")
    promote(repository, "tiny", 4, "challenger")
    assert back(repository) == 1
    assert read_aliases(repository, "tiny") == {"champion": 1, "challenger": 4}


def test_unreadable_history_changes_nothing(tmp_path: Path) -> None:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    repository = open_repository(str(tmp_path))
    promote(repository, "tiny", 1, "champion")
    (tmp_path / "tiny" / HISTORY).write_text('{"champion": 7}')
    for change in (lambda: promote(repository, "tiny", 2, "champion"), lambda: back(repository)):
        with pytest.raises(RepositoryError, match="correct the file, or remove it"):
            change()
    assert champion(repository) == 1


def test_unknown_names_are_explained(repository: Repository) -> None:
    promote(repository, "tiny", 1, "champion")
    with pytest.raises(UnknownNameError, match=r"no alias 'champoin'; did you mean champion\?"):
        remove_alias(repository, "tiny", "champoin")
    with pytest.raises(UnknownNameError, match="tiny has no version 9; it has: 1, 2, 3, 4"):
        promote(repository, "tiny", 9, "champion")


@pytest.mark.parametrize(
    "content",
    [
        *([], {"champion": "3"}, {"champion": 0}, {"champion": True}, {"champion": 2**63}),
        *({"7": 1}, {"Upper": 1}),
    ],
    ids=str,
)
def test_anything_else_in_the_file_is_rejected(content: object) -> None:
    with pytest.raises(InvalidValueError, match=r"aliases\.json is not"):
        parse_aliases(json.dumps(content).encode())


def test_deeply_nested_file_is_rejected() -> None:
    with pytest.raises(InvalidValueError, match=r"aliases\.json is not JSON"):
        parse_aliases(b"[" * 200_000)
