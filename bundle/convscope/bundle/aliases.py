"""Aliases: names such as champion that are switched from version to version."""

import re
from dataclasses import dataclass

from convscope.bundle import history
from convscope.bundle.errors import InvalidValueError, RepositoryError, UnknownNameError
from convscope.bundle.json_files import parse_object, read_document, write_document
from convscope.bundle.layout import ALIASES, is_version_number
from convscope.bundle.repository import Repository
from convscope.bundle.suggestions import or_others

__all__ = [
    "Switch",
    "check_alias",
    "go_back",
    "is_alias",
    "parse_aliases",
    "promote",
    "read_aliases",
    "remove_alias",
]

_EXAMPLE = '{"champion": 3}'
_ALIAS = re.compile(r"(?![0-9]+$)[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class Switch:
    """What an alias named before and names now; None for nothing."""

    alias: str
    before: int | None
    after: int | None

    def __str__(self) -> str:
        if self.before == self.after:
            return f"{self.alias}: {_shown(self.after)} already"
        return f"{self.alias}: {_shown(self.before)} -> {_shown(self.after)}"


def is_alias(name: object) -> bool:
    """Whether a name can be an alias; a number can't, as it would look like a version."""
    return isinstance(name, str) and bool(_ALIAS.fullmatch(name))


def check_alias(alias: str) -> None:
    """Check that a name can be an alias.

    Raises:
        InvalidValueError: It can't.
    """
    if not is_alias(alias):
        raise InvalidValueError(
            f"{alias[:80]!r} can't be an alias; use up to 63 of a-z, 0-9, _ and -, starting with "
            "a letter or digit, and not only digits, such as champion"
        )


def parse_aliases(data: bytes | None) -> dict[str, int]:
    """Parse aliases.json; an absent file holds no aliases.

    Raises:
        InvalidValueError: It holds something else.
    """
    aliases = parse_object(data, ALIASES, _EXAMPLE)
    for alias, version in aliases.items():
        if not (is_alias(alias) and is_version_number(version)):
            raise InvalidValueError(
                f"{ALIASES} is not JSON like {_EXAMPLE}: {alias[:80]!r} names {str(version)[:80]!r}"
            )
    return aliases


def read_aliases(repository: Repository, model: str) -> dict[str, int]:
    """Return the version that each alias of a model names.

    Raises:
        RepositoryError: The file can't be read, or holds something else.
    """
    return read_document(repository, model, ALIASES, parse_aliases)


def promote(repository: Repository, model: str, version: int, alias: str) -> Switch:
    """Make an alias name a version.

    Raises:
        InvalidValueError: The alias can't be a name.
        UnknownNameError: There is no such model or version.
        RepositoryError: The files can't be read or written.
    """
    check_alias(alias)
    repository.require_version(model, version)
    with repository.lock(model):
        repository.require_version(model, version)  # under the lock it isn't removed
        aliases = read_aliases(repository, model)
        before = aliases.get(alias)
        if before != version:
            if before is not None:
                # First: if the process ends in between, going back skips the version in use.
                history.append(repository, model, alias, before)
            write_document(repository, model, ALIASES, aliases | {alias: version})
    return Switch(alias, before, version)


def remove_alias(repository: Repository, model: str, alias: str) -> Switch:
    """Remove an alias.

    Raises:
        UnknownNameError: There is no such model or alias.
        RepositoryError: The files can't be read or written.
    """
    repository.require_model(model)
    with repository.lock(model):
        aliases = read_aliases(repository, model)
        if alias not in aliases:
            raise _unknown_alias(model, alias, aliases)
        before = aliases.pop(alias)
        history.append(repository, model, alias, before)
        write_document(repository, model, ALIASES, aliases)
    return Switch(alias, before, None)


def go_back(repository: Repository, model: str, alias: str) -> Switch:
    """Make an alias name the version that it named before, of those that still exist.

    Raises:
        UnknownNameError: There is no such model or alias.
        RepositoryError: The alias named nothing before, or the files can't be
            read or written.
    """
    repository.require_model(model)
    with repository.lock(model):
        existing = repository.require_model(model)
        aliases, past = read_aliases(repository, model), history.read_history(repository, model)
        if alias not in aliases and alias not in past:
            raise _unknown_alias(model, alias, aliases)
        now, earlier = aliases.get(alias), past.get(alias, [])
        while earlier and (earlier[-1] == now or earlier[-1] not in existing):
            earlier.pop()
        if not earlier:
            raise RepositoryError(
                f"{alias} of {model} named no other existing version before {_shown(now)}; "
                "promote a version by its number"
            )
        version = earlier.pop()
        write_document(repository, model, ALIASES, aliases | {alias: version})
        history.write_history(repository, model, past | {alias: earlier})
    return Switch(alias, now, version)


def _unknown_alias(model: str, alias: str, aliases: dict[str, int]) -> UnknownNameError:
    return UnknownNameError(f"{model} has no alias {alias[:80]!r}{or_others(alias, aliases)}")


def _shown(version: int | None) -> str:
    return "none" if version is None else f"v{version}"
