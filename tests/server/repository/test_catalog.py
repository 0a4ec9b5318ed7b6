"""What a repository serves, and which version a request gets."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.alterations import change_weight, flip_byte
from support.loading import load
from support.tiny import write_tiny

from convscope.server.errors import NotFoundError, UnavailableError
from convscope.server.repository.catalog import Catalog, Target
from convscope.server.runtime.versions import LoadedVersion


def served(repository: Catalog[LoadedVersion]) -> list[tuple[str, int]]:
    return [version.key for version in repository]


def alias(root: Path, model: str, text: str) -> None:
    (root / model / "aliases.json").write_text(text)


def write_broken(root: Path, model: str, version: int) -> None:
    flip_byte(write_tiny(root, model, version) / "model.onnx", 50)


# What is served


def test_latest_version_is_served(root: Path) -> None:
    for version in (2, 10, 9):
        write_tiny(root, "good", version)
    assert served(load(root)) == [("good", 10)]


def test_as_many_latest_versions_as_selected(root: Path) -> None:
    for version in (2, 10, 9):
        write_tiny(root, "good", version)
    assert served(load(root, latest=3)) == [("good", 2), ("good", 9), ("good", 10)]


def test_version_of_an_alias_is_served_too(root: Path) -> None:
    for version in (2, 3):
        write_tiny(root, "good", version)
    alias(root, "good", '{"champion": 1}')
    repository = load(root)
    assert served(repository) == [("good", 1), ("good", 3)]
    assert repository.resolve(Target("good", alias="champion")).key == ("good", 1)


def test_version_that_only_an_alias_or_a_split_names_is_not_the_default(root: Path) -> None:
    for version in (2, 3):
        write_tiny(root, "good", version)
    alias(root, "good", '{"challenger": 2}')
    (root / "good" / "traffic.json").write_text('{"shadow": {"to": 3, "share": 1}}')
    repository = load(root, versions=frozenset({1}))
    assert served(repository) == [("good", 1), ("good", 2), ("good", 3)]
    assert repository.resolve(Target("good")).key == ("good", 1)
    assert repository.is_default(repository.resolve(Target("good", number=1)))


def test_rejected_version_gives_its_place_to_the_next_older(root: Path) -> None:
    write_broken(root, "good", 2)
    repository = load(root)
    assert served(repository) == [("good", 1)]
    assert [(r.model, r.version, r.reason) for r in repository.rejections] == [("good", 2, "hash")]


@pytest.mark.parametrize("name", ["0", "01", "-1", "1.5", "latest", ".tmp-2", "v2"])
def test_directory_that_is_no_version_is_left_alone(root: Path, name: str) -> None:
    (root / "good" / name).mkdir()
    repository = load(root)
    assert served(repository) == [("good", 1)]
    assert repository.rejections == []


@pytest.mark.parametrize("name", ["Good", "_x", "-x", "a.b", "x" * 64, ".git"])
def test_directory_that_is_no_model_is_left_alone(root: Path, name: str) -> None:
    (root / name / "1").mkdir(parents=True)
    assert load(root).models == ["good"]


def test_empty_version_is_rejected(root: Path) -> None:
    (root / "good" / "2").mkdir()
    repository = load(root)
    message = repository.rejections[0].message
    assert message.startswith("golden.npz, manifest.json, model.onnx are missing")
    assert served(repository) == [("good", 1)]


def test_each_bad_model_has_its_reason_and_the_others_are_served(root: Path) -> None:
    write_broken(root, "flipped", 1)
    write_tiny(
        root, "wrong", alter_graph=change_weight("dense", lambda w: w[:, ::-1].astype(np.float32))
    )
    (write_tiny(root, "extra") / "notes.txt").touch()
    write_tiny(root, "fine")
    repository = load(root)
    assert served(repository) == [("fine", 1), ("good", 1)]
    reasons = {rejection.model: rejection.reason for rejection in repository.rejections}
    assert reasons == {"extra": "files", "flipped": "hash", "wrong": "golden"}
    assert repository.models == ["extra", "fine", "flipped", "good", "wrong"]


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "null", '{"champion": "latest"}', '{"champion": null}', "\x00"]
)
def test_aliases_that_cannot_be_read_do_not_stop_the_model(root: Path, text: str) -> None:
    alias(root, "good", text)
    repository = load(root)
    assert served(repository) == [("good", 1)]
    assert repository.aliases("good") == {}


# Which version a request gets


@pytest.fixture
def repository(root: Path) -> Catalog[LoadedVersion]:
    write_tiny(root, "good", 2)
    write_broken(root, "bad", 1)
    alias(root, "good", json.dumps({"champion": 1, "lost": 7}))
    return load(root, latest=2)


def test_default_is_the_latest(repository: Catalog[LoadedVersion]) -> None:
    assert repository.resolve(Target("good")).key == ("good", 2)


def test_version_and_alias(repository: Catalog[LoadedVersion]) -> None:
    assert repository.resolve(Target("good", number=1)).key == ("good", 1)
    assert repository.resolve(Target("good", alias="champion")).key == ("good", 1)


def test_unknown_model_names_those_that_exist(repository: Catalog[LoadedVersion]) -> None:
    with pytest.raises(NotFoundError) as caught:
        repository.resolve(Target("cat"))
    assert caught.value.message == "no model 'cat'; this server has: bad, good"


@pytest.mark.parametrize("version", [3, 0, -1, 2**62])
def test_unknown_version_names_those_that_exist(
    repository: Catalog[LoadedVersion], version: int
) -> None:
    with pytest.raises(NotFoundError) as caught:
        repository.resolve(Target("good", number=version))
    assert caught.value.message == f"good has no version {version} ready; it has: 1, 2"


def test_unknown_alias_names_those_that_exist(repository: Catalog[LoadedVersion]) -> None:
    with pytest.raises(NotFoundError) as caught:
        repository.resolve(Target("good", alias="challenger"))
    assert caught.value.message == "good has no alias 'challenger'; it has: champion, lost"


def test_alias_of_a_version_that_does_not_exist(repository: Catalog[LoadedVersion]) -> None:
    with pytest.raises(NotFoundError, match="good has no version 7 ready; it has: 1, 2"):
        repository.resolve(Target("good", alias="lost"))


def test_model_without_a_ready_version_is_unavailable(repository: Catalog[LoadedVersion]) -> None:
    assert not repository.is_ready("bad")
    with pytest.raises(UnavailableError, match="no version of bad is ready"):
        repository.resolve(Target("bad"))


@pytest.mark.parametrize("length", [1_000, 1_000_000])
def test_long_name_is_quoted_at_a_bounded_length(
    repository: Catalog[LoadedVersion], length: int
) -> None:
    with pytest.raises(NotFoundError) as model_error:
        repository.resolve(Target("x" * length))
    with pytest.raises(NotFoundError) as alias_error:
        repository.resolve(Target("good", alias="x" * length))
    assert len(model_error.value.message) < 200
    assert len(alias_error.value.message) < 200
