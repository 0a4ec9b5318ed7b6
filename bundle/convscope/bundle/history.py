"""The history of aliases: the versions that each alias named before, for `promote --back`.

It works like undo: naming a version appends the one before, going back removes
the last entry, and naming another version after going back continues from there.
"""

from convscope.bundle.errors import InvalidValueError
from convscope.bundle.json_files import parse_object, read_document, write_document
from convscope.bundle.layout import HISTORY, is_version_number
from convscope.bundle.repository import Repository

__all__ = ["HISTORY_LENGTH", "append", "parse_history", "read_history", "write_history"]

HISTORY_LENGTH = 20
_EXAMPLE = '{"champion": [2, 3]}'

History = dict[str, list[int]]
"""What each alias named before, the latest last."""


def parse_history(data: bytes | None) -> History:
    """Parse a history; an absent file is an empty one.

    Raises:
        InvalidValueError: It holds something else.
    """
    history = parse_object(data, HISTORY, _EXAMPLE)
    for earlier in history.values():
        if not (isinstance(earlier, list) and all(map(is_version_number, earlier))):
            raise InvalidValueError(f"{HISTORY} is not JSON like {_EXAMPLE}")
    return history


def read_history(repository: Repository, model: str) -> History:
    """Read the history of a model's aliases.

    Raises:
        RepositoryError: It can't be read.
    """
    return read_document(repository, model, HISTORY, parse_history)


def append(repository: Repository, model: str, alias: str, version: int) -> None:
    """Append a version that an alias stops naming. Call it under the model's lock."""
    history = read_history(repository, model)
    earlier = [*history.get(alias, []), version][-HISTORY_LENGTH:]
    write_history(repository, model, history | {alias: earlier})


def write_history(repository: Repository, model: str, history: History) -> None:
    """Write the history. Call it under the model's lock."""
    write_document(repository, model, HISTORY, history)
