"""Aliases: names, such as champion, that are switched from version to version."""

import re
from dataclasses import dataclass

from convscope.exporter.errors import ExporterError, UnknownNameError
from convscope.exporter.repositories.json_files import (
    is_number,
    read_object,
    unreadable,
    write_object,
)
from convscope.exporter.repositories.repository import Repository, RepositoryError, near

__all__ = ["Switch", "go_back", "is_alias", "promote", "read_aliases", "remove_alias"]

ALIASES = "aliases.json"
HISTORY = ".aliases-history.json"
HISTORY_LENGTH = 20
_EXAMPLE = '{"champion": 3}'
_HISTORY_EXAMPLE = '{"champion": [2, 3]}'
_ALIAS = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

History = dict[str, list[int]]
"""What each alias named before, the latest last."""


@dataclass(frozen=True, slots=True)
class Switch:
    """What an alias named, and what it names now; None for nothing."""

    alias: str
    before: int | None
    after: int | None

    def __str__(self) -> str:
        if self.before == self.after:
            return f"{self.alias}: {_said(self.after)} already"
        return f"{self.alias}: {_said(self.before)} -> {_said(self.after)}"


def is_alias(name: object) -> bool:
    """Whether a name can be an alias."""
    return isinstance(name, str) and bool(_ALIAS.fullmatch(name)) and not name.isdecimal()


def read_aliases(repository: Repository, model: str) -> dict[str, int]:
    """The version that each alias of a model names.

    Raises:
        RepositoryError: The file of the aliases can't be read.
    """
    aliases = read_object(repository, model, ALIASES, _EXAMPLE)
    if not all(is_number(version) for version in aliases.values()):
        raise unreadable(repository, model, ALIASES, _EXAMPLE)
    return aliases


def promote(repository: Repository, model: str, version: int, alias: str) -> Switch:
    """Let an alias name a version.

    Raises:
        ExporterError: The alias can't be a name.
        UnknownNameError: There is no such model or version.
    """
    if not is_alias(alias):
        raise ExporterError(
            f"{alias!r} can't be an alias; use up to 63 of a-z, 0-9, _ and -, the first a "
            "letter or digit, and not only digits, such as champion"
        )
    repository.require_version(model, version)
    with repository.lock(model):
        repository.require_version(model, version)  # nobody removes it from here on
        aliases = read_aliases(repository, model)
        before = aliases.get(alias)
        if before != version:
            # First: if this process ends in between, going back passes over what is named now.
            _remember(repository, model, alias, before)
            write_object(repository, model, ALIASES, aliases | {alias: version})
    return Switch(alias, before, version)


def remove_alias(repository: Repository, model: str, alias: str) -> Switch:
    """Drop an alias.

    Raises:
        UnknownNameError: There is no such model or alias.
    """
    repository.require_model(model)
    with repository.lock(model):
        aliases = read_aliases(repository, model)
        if alias not in aliases:
            raise UnknownNameError(f"{model} has no alias {alias!r}{near(alias, aliases)}")
        _remember(repository, model, alias, aliases[alias])
        write_object(repository, model, ALIASES, {k: v for k, v in aliases.items() if k != alias})
    return Switch(alias, aliases[alias], None)


def go_back(repository: Repository, model: str, alias: str) -> Switch:
    """Let an alias name again what it named before.

    Raises:
        UnknownNameError: There is no such model or alias, or the version is gone.
        RepositoryError: The alias named nothing before.
    """
    repository.require_model(model)
    with repository.lock(model):
        aliases, history = read_aliases(repository, model), _read_history(repository, model)
        if alias not in aliases and alias not in history:
            raise UnknownNameError(f"{model} has no alias {alias!r}{near(alias, aliases)}")
        now, earlier = aliases.get(alias), history.get(alias, [])
        while earlier and earlier[-1] == now:
            earlier.pop()
        if not earlier:
            raise RepositoryError(
                f"{alias} of {model} named no other version before {_said(now)}; "
                "name the version that it is to have"
            )
        version = earlier.pop()
        repository.require_version(model, version)
        write_object(repository, model, ALIASES, aliases | {alias: version})
        write_object(repository, model, HISTORY, history | {alias: earlier})
    return Switch(alias, now, version)


def _remember(repository: Repository, model: str, alias: str, version: int | None) -> None:
    if version is not None:
        history = _read_history(repository, model)
        earlier = [*history.get(alias, []), version][-HISTORY_LENGTH:]
        write_object(repository, model, HISTORY, history | {alias: earlier})


def _read_history(repository: Repository, model: str) -> History:
    history = read_object(repository, model, HISTORY, _HISTORY_EXAMPLE)
    for earlier in history.values():
        if not (isinstance(earlier, list) and all(map(is_number, earlier))):
            raise unreadable(repository, model, HISTORY, _HISTORY_EXAMPLE)
    return history


def _said(version: int | None) -> str:
    return "none" if version is None else f"v{version}"
