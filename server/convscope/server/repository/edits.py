"""Writes the aliases and traffic splits of a local repository, on behalf of an operator."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convscope.bundle import aliases, traffic
from convscope.bundle.errors import RepositoryError, UnknownNameError
from convscope.bundle.local import LocalRepository
from convscope.bundle.traffic import Kind, TrafficSplit
from convscope.server.errors import UnavailableError, translate_bundle_errors

__all__ = ["check_alias", "check_split", "write_alias", "write_split"]

# In messages, which never contain paths.
_LOCATION = "the repository"


def check_alias(alias: str) -> None:
    """Check that a name can be an alias.

    Raises:
        InvalidInputError: It can't.
    """
    with translate_bundle_errors():
        aliases.check_alias(alias)


def check_split(kind: str, split: TrafficSplit) -> None:
    """Check a traffic split before anything is loaded for it.

    Raises:
        InvalidInputError: Its kind, share, version or alias isn't allowed.
    """
    with translate_bundle_errors():
        traffic.check_split(kind, split)


def write_alias(root: Path, model: str, alias: str, version: int | None) -> None:
    """Make an alias name a version, or remove it, and record what it named before.

    Args:
        root: The repository's directory.
        model: The model.
        alias: The alias.
        version: The version; None removes the alias, if it exists.

    Raises:
        NotFoundError: There is no such model or version.
        UnavailableError: The files can't be read or replaced.
    """
    repository = LocalRepository(root, _LOCATION)
    with _writing("promote"):
        if version is not None:
            aliases.promote(repository, model, version, alias)
            return
        with suppress(UnknownNameError):
            aliases.remove_alias(repository, model, alias)


def write_split(root: Path, model: str, kind: Kind, split: TrafficSplit | None) -> None:
    """Start or change a traffic split; None ends it.

    Raises:
        NotFoundError: There is no such model, version or alias.
        UnavailableError: The files can't be read or replaced.
    """
    repository = LocalRepository(root, _LOCATION)
    with _writing(kind):
        if split is None:
            traffic.end_split(repository, model, kind)
        else:
            traffic.set_split(repository, model, kind, split)


@contextmanager
def _writing(command: str) -> Iterator[None]:
    with translate_bundle_errors():
        try:
            yield
        except RepositoryError as error:
            raise UnavailableError(
                f"{error}; or use convscope-exporter {command} where the repository is written"
            ) from error
