"""A model's trials: `traffic.json` says which share of its requests goes to which other version.

A canary answers its share in place of the version that would have; a shadow is
given copies, and what it says of them is compared and thrown away.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from convscope.server.errors import InvalidInputError, UnavailableError
from convscope.server.repository.aliases import is_alias
from convscope.server.repository.json_files import locked, read_object, replace_object

__all__ = ["Traffic", "Trial", "check_trial", "read_traffic", "write_trial"]

TRAFFIC = "traffic.json"
_KINDS = ("canary", "shadow")
_EXAMPLE = '{"canary": {"to": "challenger", "share": 0.05}}'


@dataclass(frozen=True, slots=True)
class Trial:
    """A share of a model's requests, and where it goes.

    Args:
        to: The version, by its number or by an alias.
        share: From 0 to 1.
        of: The alias whose requests are meant; None for those that name
            neither an alias nor a version. A request that names a version is
            always answered by it.
    """

    to: int | str
    share: float
    of: str | None = None

    def takes(self, alias: str | None, salt: str, key: str) -> bool:
        """Whether a request belongs to the share.

        Args:
            alias: The alias that it names.
            salt: What tells this trial from the others of the server: else the
                same few requests would belong to all of them.
            key: What it is recognised by: the same key always gives the same,
                and who belongs to a share belongs to every larger one.
        """
        return alias == self.of and _place(salt, key) < self.share

    def version(self, aliases: Mapping[str, int]) -> int | None:
        """The number of the version; None for an alias that there isn't."""
        return self.to if isinstance(self.to, int) else aliases.get(self.to)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The trials of one model."""

    canary: Trial | None = None
    shadow: Trial | None = None

    def __iter__(self) -> Iterator[tuple[str, Trial]]:
        for kind in _KINDS:
            trial: Trial | None = getattr(self, kind)
            if trial is not None:
                yield kind, trial

    def versions(self, aliases: Mapping[str, int]) -> set[int]:
        """The versions that trials need."""
        numbers = {trial.version(aliases) for _, trial in self}
        return {number for number in numbers if number is not None}


def read_traffic(directory: Path) -> Traffic:
    """Read the trials of a model's directory; none without a file.

    Raises:
        OSError: The file can't be read.
        ValueError: It says something else.
    """
    found = read_object(directory / TRAFFIC)
    if unknown := found.keys() - set(_KINDS):
        raise ValueError(f"{TRAFFIC} has {min(unknown)[:80]!r}; it is an object like {_EXAMPLE}")
    return Traffic(**{kind: _trial(kind, value) for kind, value in found.items()})


def check_trial(kind: str, trial: Trial) -> None:
    """Check what is to become a trial.

    Raises:
        InvalidInputError: It can't be one.
    """
    try:
        _trial(kind, asdict(trial))
    except ValueError as error:
        raise InvalidInputError(str(error)) from error


def write_trial(directory: Path, kind: str, trial: Trial | None) -> None:
    """Begin or change a trial that was checked; None ends it.

    Args:
        directory: The model's.
        kind: "canary" or "shadow".
        trial: The share and where it goes.

    Raises:
        UnavailableError: The file can't be read or replaced.
    """
    try:
        with locked(directory):
            trials = {name: asdict(one) for name, one in read_traffic(directory)}
            trials.pop(kind, None)
            if trial is not None:
                trials[kind] = asdict(trial)
            replace_object(directory / TRAFFIC, trials)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnavailableError(
            f"the trials of {directory.name} can't be written: {reason}; use "
            f"convscope-exporter {kind} where the repository is written"
        ) from error


def _trial(kind: str, value: Any) -> Trial:
    if not isinstance(value, dict) or not {"to", "share"} <= value.keys() <= {"to", "share", "of"}:
        raise ValueError(f"{kind} must have to, share and at most of besides, as in {_EXAMPLE}")
    trial = Trial(**value)
    if not (is_alias(trial.to) or _is_number(trial.to)):
        raise ValueError(f"{kind} goes to {str(trial.to)[:80]!r}, no alias and no version")
    if isinstance(trial.share, bool) or not isinstance(trial.share, int | float):
        raise ValueError(f"the share of {kind} is {str(trial.share)[:80]!r}, no number")
    if not 0 <= trial.share <= 1:
        raise ValueError(f"the share of {kind} is {trial.share}; it is from 0 to 1")
    if trial.of is not None and not is_alias(trial.of):
        raise ValueError(f"{kind} is of {str(trial.of)[:80]!r}, no alias")
    return trial


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _place(salt: str, key: str) -> float:
    """A place in [0, 1) that depends on nothing else."""
    digest = blake2b(f"{salt}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
