"""Which share of a model's requests goes to which other version."""

import json
from pathlib import Path

import pytest
from support.tiny import write_tiny

from convscope.bundle.errors import InvalidValueError, RepositoryError, UnknownNameError
from convscope.bundle.local import LocalRepository
from convscope.bundle.traffic import (
    Traffic,
    TrafficSplit,
    check_split,
    end_split,
    parse_traffic,
    read_traffic,
    set_split,
)

USERS = [f"user {number}" for number in range(10_000)]


def members(share: float, model: str = "canary of digits") -> set[str]:
    split = TrafficSplit(2, share)
    return {user for user in USERS if split.takes(None, model, user)}


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5, 0.9])
def test_share_of_the_keys_is_the_share(share: float) -> None:
    assert len(members(share)) == pytest.approx(share * len(USERS), rel=0.15)


def test_members_of_a_share_belong_to_every_larger_one() -> None:
    assert members(0) < members(0.05) < members(0.2) < members(1)
    assert members(0.05) == members(0.05)
    assert members(1) == set(USERS)


def test_every_split_has_members_of_its_own() -> None:
    for other in ("canary of flowers", "shadow of digits"):
        both = members(0.1) & members(0.1, other)
        assert len(both) == pytest.approx(0.01 * len(USERS), rel=0.4)


def test_only_requests_of_the_alias_are_taken() -> None:
    everyone = TrafficSplit(2, 1.0, of="champion")
    assert everyone.takes("champion", "digits", "")
    assert not everyone.takes(None, "digits", "")
    assert not TrafficSplit(2, 1.0).takes("champion", "digits", "")


@pytest.fixture
def repository(tmp_path: Path) -> LocalRepository:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    (tmp_path / "tiny/aliases.json").write_text('{"champion": 1, "challenger": 2}')
    return LocalRepository(tmp_path)


def test_splits_are_written_and_read(repository: LocalRepository) -> None:
    assert read_traffic(repository, "tiny") == Traffic()
    canary, shadow = TrafficSplit("challenger", 0.25), TrafficSplit(2, 1.0, of="champion")
    set_split(repository, "tiny", "canary", canary)
    set_split(repository, "tiny", "shadow", shadow)
    assert read_traffic(repository, "tiny") == Traffic(canary, shadow)
    assert end_split(repository, "tiny", "canary")
    assert not end_split(repository, "tiny", "canary")
    assert read_traffic(repository, "tiny") == Traffic(shadow=shadow)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "is not a JSON object"),
        ("{", "is not JSON like"),
        ('{"canry": {"to": 2, "share": 1}}', "'canry'"),
        ('{"canary": 2}', "canary must have to and share"),
        ('{"canary": {"to": 2}}', "canary must have to and share"),
        ('{"canary": {"to": 2, "share": 1, "sticky": true}}', "canary must have to and share"),
        ('{"canary": {"to": 0, "share": 1}}', "canary goes to '0'; use a version's number or an"),
        ('{"canary": {"to": "v/2", "share": 1}}', "canary goes to 'v/2'"),
        ('{"canary": {"to": true, "share": 1}}', "canary goes to 'True'"),
        ('{"canary": {"to": 2, "share": "half"}}', "the share of canary is half; use 0 to 1"),
        ('{"canary": {"to": 2, "share": true}}', "the share of canary is True; use 0 to 1"),
        ('{"shadow": {"to": 2, "share": 1.5}}', r"the share of shadow is 1\.5; use 0 to 1"),
        ('{"shadow": {"to": 2, "share": NaN}}', "the share of shadow is nan"),
        ('{"shadow": {"to": 2, "share": 1, "of": 3}}', "shadow splits '3'; use an alias"),
        ("[" * 100_000, "is not JSON like"),
    ],
    ids=str.split("list text name number part extra zero path bool word true large nan of deep"),
)
def test_invalid_file_is_explained(text: str, reason: str) -> None:
    with pytest.raises(InvalidValueError, match=reason) as error:
        parse_traffic(text.encode())
    assert str(error.value).startswith("traffic.json is not ")


@pytest.mark.parametrize(
    "split", [TrafficSplit(2, 2.0), TrafficSplit("a b", 0.5), TrafficSplit(2, 0.5, of="5")]
)
def test_invalid_split_is_rejected(split: TrafficSplit) -> None:
    with pytest.raises(InvalidValueError, match="canary"):
        check_split("canary", split)


@pytest.mark.parametrize("split", [TrafficSplit(7, 0.5), TrafficSplit("best", 0.5)])
def test_unknown_target_changes_nothing(repository: LocalRepository, split: TrafficSplit) -> None:
    with pytest.raises(UnknownNameError, match="tiny has no"):
        set_split(repository, "tiny", "canary", split)
    assert read_traffic(repository, "tiny") == Traffic()


def test_broken_file_is_not_overwritten(repository: LocalRepository, tmp_path: Path) -> None:
    path = tmp_path / "tiny" / "traffic.json"
    path.write_text(json.dumps({"canary": 3}))
    with pytest.raises(RepositoryError, match="correct the file, or remove it"):
        set_split(repository, "tiny", "shadow", TrafficSplit(2, 0.5))
    assert json.loads(path.read_text()) == {"canary": 3}
