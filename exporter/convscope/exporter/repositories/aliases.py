"""Aliases: names, such as champion, that are switched from version to version."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convscope.exporter.errors import ExporterError, UnknownNameError
from convscope.exporter.repositories.repository import Repository, RepositoryError, near

__all__ = ["Switch", "go_back", "promote", "read_aliases", "remove_alias"]

ALIASES = "aliases.json"
HISTORY = ".aliases-history.json"
HISTORY_LENGTH = 20
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


def read_aliases(repository: Repository, model: str) -> dict[str, int]:
    """The version that each alias of a model names.

    Raises:
        RepositoryError: The file of the aliases can't be read.
    """
    aliases = _read(repository, model, ALIASES)
    if not all(_is_number(version) for version in aliases.values()):
        raise _unreadable(repository, model, ALIASES)
    return aliases


def promote(repository: Repository, model: str, version: int, alias: str) -> Switch:
    """Let an alias name a version.

    Raises:
        ExporterError: The alias can't be a name.
        UnknownNameError: There is no such model or version.
    """
    _check_name(alias)
    repository.require_version(model, version)
    with repository.lock(model):
        repository.require_version(model, version)  # nobody removes it from here on
        aliases = read_aliases(repository, model)
        before = aliases.get(alias)
        if before != version:
            # First: if this process ends in between, going back passes over what is named now.
            _remember(repository, model, alias, before)
            _write(repository, model, ALIASES, aliases | {alias: version})
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
        _write(repository, model, ALIASES, {k: v for k, v in aliases.items() if k != alias})
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
        _write(repository, model, ALIASES, aliases | {alias: version})
        _write(repository, model, HISTORY, history | {alias: earlier})
    return Switch(alias, now, version)


def _check_name(alias: str) -> None:
    if not _ALIAS.fullmatch(alias) or alias.isdecimal():
        raise ExporterError(
            f"{alias!r} can't be an alias; use up to 63 of a-z, 0-9, _ and -, the first a "
            "letter or digit, and not only digits, such as champion"
        )


def _remember(repository: Repository, model: str, alias: str, version: int | None) -> None:
    if version is not None:
        history = _read_history(repository, model)
        earlier = [*history.get(alias, []), version][-HISTORY_LENGTH:]
        _write(repository, model, HISTORY, history | {alias: earlier})


def _read_history(repository: Repository, model: str) -> History:
    history = _read(repository, model, HISTORY)
    for earlier in history.values():
        if not (isinstance(earlier, list) and all(map(_is_number, earlier))):
            raise _unreadable(repository, model, HISTORY)
    return history


def _read(repository: Repository, model: str, name: str) -> dict[str, Any]:
    data = repository.read(model, name)
    if data is None:
        return {}
    try:
        found = json.loads(data)
    except ValueError as error:
        raise _unreadable(repository, model, name) from error
    if not isinstance(found, dict):
        raise _unreadable(repository, model, name)
    return found


def _write(repository: Repository, model: str, name: str, content: Mapping[str, object]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    repository.replace(model, name, text.encode())


def _unreadable(repository: Repository, model: str, name: str) -> RepositoryError:
    example = '{"champion": [2, 3]}' if name == HISTORY else '{"champion": 3}'
    return RepositoryError(
        f"{repository.location}/{model}/{name} isn't JSON like {example}; "
        "mend it, or remove it if nothing asks for its aliases"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _said(version: int | None) -> str:
    return "none" if version is None else f"v{version}"
