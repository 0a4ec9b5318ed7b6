"""Which share of a model's requests goes to which other version."""

import json
from pathlib import Path

import pytest

from convscope.server.errors import InvalidInputError, UnavailableError
from convscope.server.repository.disk import scan
from convscope.server.repository.traffic import (
    Traffic,
    Trial,
    check_trial,
    read_traffic,
    write_trial,
)

USERS = [f"user {number}" for number in range(10_000)]


def members(share: float, model: str = "canary of digits") -> set[str]:
    trial = Trial(2, share)
    return {user for user in USERS if trial.takes(None, model, user)}


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5, 0.9])
def test_share_of_the_keys_is_the_share(share: float) -> None:
    assert len(members(share)) == pytest.approx(share * len(USERS), rel=0.15)


def test_who_belongs_to_a_share_belongs_to_every_larger_one() -> None:
    assert members(0) < members(0.05) < members(0.2) < members(1)
    assert members(0.05) == members(0.05)
    assert members(1) == set(USERS)


def test_every_trial_has_members_of_its_own() -> None:
    for other in ("canary of flowers", "shadow of digits"):
        both = members(0.1) & members(0.1, other)
        assert len(both) == pytest.approx(0.01 * len(USERS), rel=0.4)


def test_only_requests_of_the_alias_are_taken() -> None:
    everyone = Trial(2, 1.0, of="champion")
    assert everyone.takes("champion", "digits", "")
    assert not everyone.takes(None, "digits", "")
    assert not Trial(2, 1.0).takes("champion", "digits", "")


def test_trials_are_written_and_read(tmp_path: Path) -> None:
    assert read_traffic(tmp_path) == Traffic()
    canary, shadow = Trial("challenger", 0.25), Trial(4, 1.0, of="champion")
    write_trial(tmp_path, "canary", canary)
    write_trial(tmp_path, "shadow", shadow)
    assert read_traffic(tmp_path) == Traffic(canary, shadow)
    write_trial(tmp_path, "canary", None)
    assert read_traffic(tmp_path) == Traffic(shadow=shadow)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "is no JSON object"),
        ("{", "Expecting property name"),
        ('{"canry": {"to": 2, "share": 1}}', "'canry'"),
        ('{"canary": 2}', "canary must have to, share"),
        ('{"canary": {"to": 2}}', "canary must have to, share"),
        ('{"canary": {"to": 2, "share": 1, "sticky": true}}', "canary must have to, share"),
        ('{"canary": {"to": 0, "share": 1}}', "canary goes to '0', no alias and no version"),
        ('{"canary": {"to": "v/2", "share": 1}}', "canary goes to 'v/2'"),
        ('{"canary": {"to": true, "share": 1}}', "canary goes to 'True'"),
        ('{"canary": {"to": 2, "share": "half"}}', "the share of canary is 'half', no number"),
        ('{"canary": {"to": 2, "share": true}}', "the share of canary is 'True', no number"),
        ('{"shadow": {"to": 2, "share": 1.5}}', "the share of shadow is 1.5; it is from 0 to 1"),
        ('{"shadow": {"to": 2, "share": NaN}}', "the share of shadow is nan"),
        ('{"shadow": {"to": 2, "share": 1, "of": 3}}', "shadow is of '3', no alias"),
        ("[" * 100_000, "nested too deeply"),
    ],
    ids=str.split("list text name number part extra zero path bool word true large nan of deep"),
)
def test_file_that_says_something_else_is_told_and_changes_nothing(
    tmp_path: Path, text: str, reason: str
) -> None:
    directory = tmp_path / "digits"
    directory.mkdir()
    (directory / "traffic.json").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_traffic(directory)
    found = scan(tmp_path)["digits"]
    assert found is not None
    assert found.traffic is None  # what was before goes on


@pytest.mark.parametrize("trial", [Trial(2, 2.0), Trial("a b", 0.5), Trial(2, 0.5, of="5")])
def test_trial_that_can_t_be_is_refused(trial: Trial) -> None:
    with pytest.raises(InvalidInputError, match="canary"):
        check_trial("canary", trial)


def test_broken_file_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "traffic.json"
    path.write_text(json.dumps({"canary": 3}))
    with pytest.raises(UnavailableError, match="convscope-exporter shadow"):
        write_trial(tmp_path, "shadow", Trial(2, 0.5))
    assert json.loads(path.read_text()) == {"canary": 3}
