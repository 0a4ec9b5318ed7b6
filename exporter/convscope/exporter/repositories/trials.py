"""Trials: a share of a model's requests goes to another version, as canary or shadow."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from convscope.exporter.errors import ExporterError, UnknownNameError
from convscope.exporter.repositories.aliases import is_alias, read_aliases
from convscope.exporter.repositories.json_files import (
    is_number,
    read_object,
    unreadable,
    write_object,
)
from convscope.exporter.repositories.repository import Repository, near

__all__ = ["Kind", "Trial", "begin_trial", "end_trial", "read_trials", "tried_versions"]

TRAFFIC = "traffic.json"
_EXAMPLE = '{"canary": {"to": "challenger", "share": 0.05}}'

Kind = Literal["canary", "shadow"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A share of a model's requests, and where it goes.

    Args:
        to: The version, by its number or by an alias.
        share: From 0 to 1.
        of: The alias whose requests are meant; None for those that name neither
            an alias nor a version.
    """

    to: int | str
    share: float
    of: str | None = None

    def __str__(self) -> str:
        to = f"v{self.to}" if isinstance(self.to, int) else self.to
        of = "" if self.of is None else f" of {self.of}"
        return f"{self.share:.4g}{of} -> {to}"


def read_trials(repository: Repository, model: str) -> dict[str, Trial]:
    """The trials of a model, by "canary" and "shadow".

    Raises:
        RepositoryError: The file can't be read, or says something else.
    """
    found = read_object(repository, model, TRAFFIC, _EXAMPLE)
    try:
        trials = {kind: Trial(**value) for kind, value in found.items()}
    except TypeError as error:
        raise unreadable(repository, model, TRAFFIC, _EXAMPLE) from error
    if not (trials.keys() <= {"canary", "shadow"} and all(map(_can_be, trials.values()))):
        raise unreadable(repository, model, TRAFFIC, _EXAMPLE)
    return trials


def tried_versions(repository: Repository, model: str) -> dict[int, tuple[str, ...]]:
    """The kinds of trial that need a version, for each version that is named by its number."""
    named: dict[int, tuple[str, ...]] = {}
    for kind, trial in sorted(read_trials(repository, model).items()):
        if isinstance(trial.to, int):
            named[trial.to] = (*named.get(trial.to, ()), kind)
    return named


def begin_trial(repository: Repository, model: str, kind: Kind, trial: Trial) -> None:
    """Send a share of a model's requests to another version, or another share.

    Raises:
        ExporterError: The share or an alias can't be one.
        UnknownNameError: There is no such model, version or alias.
    """
    _check(trial)
    repository.require_model(model)
    with repository.lock(model):
        aliases = read_aliases(repository, model)
        for name in (trial.to, trial.of):
            if isinstance(name, str) and name not in aliases:
                raise UnknownNameError(f"{model} has no alias {name!r}{near(name, aliases)}")
        number = trial.to if isinstance(trial.to, int) else aliases[trial.to]
        repository.require_version(model, number)
        trials = read_trials(repository, model) | {kind: trial}
        write_object(repository, model, TRAFFIC, _content(trials))


def end_trial(repository: Repository, model: str, kind: Kind) -> bool:
    """End a trial; tells whether there was one.

    Raises:
        UnknownNameError: There is no such model.
    """
    repository.require_model(model)
    with repository.lock(model):
        trials = read_trials(repository, model)
        if trials.pop(kind, None) is None:
            return False
        write_object(repository, model, TRAFFIC, _content(trials))
        return True


def _content(trials: dict[str, Trial]) -> dict[str, Any]:
    return {
        kind: {name: value for name, value in asdict(trial).items() if value is not None}
        for kind, trial in trials.items()
    }


def _check(trial: Trial) -> None:
    if not 0 <= trial.share <= 1:
        raise ExporterError(f"the share is {trial.share}; it is from 0 to 1")
    if not _can_be(trial):
        raise ExporterError(f"{trial} names no version and no alias")


def _can_be(trial: Trial) -> bool:
    share = trial.share
    is_share = isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1
    named = is_number(trial.to) or is_alias(trial.to)
    return is_share and named and (trial.of is None or is_alias(trial.of))
