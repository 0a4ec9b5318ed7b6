"""The small JSON files beside a model's versions."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from convscope.bundle.errors import InvalidValueError, RepositoryError
from convscope.bundle.repository import Repository

__all__ = ["format_object", "parse_object", "read_document", "write_document"]

T = TypeVar("T")


def parse_object(data: bytes | None, name: str, example: str) -> dict[str, Any]:
    """Parse a file that holds a JSON object; an absent file is an empty object.

    Args:
        data: The file's bytes; None if it is absent.
        name: The file's name.
        example: What such a file looks like.

    Raises:
        InvalidValueError: It holds something else.
    """
    if data is None:
        return {}
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:  # the latter: nested too deeply
        raise InvalidValueError(f"{name} is not JSON like {example}") from error
    if not isinstance(found, dict):
        raise InvalidValueError(f"{name} is not a JSON object like {example}")
    return found


def read_document(
    repository: Repository, model: str, name: str, parse: Callable[[bytes | None], T]
) -> T:
    """Read such a file of a model.

    Raises:
        RepositoryError: It can't be read, or holds something else.
    """
    try:
        return parse(repository.read(model, name))
    except InvalidValueError as error:
        raise RepositoryError(
            f"{repository.location.rstrip('/')}/{model}/{error}; correct the file, or remove it "
            "if its content isn't needed"
        ) from error


def write_document(
    repository: Repository, model: str, name: str, content: Mapping[str, object]
) -> None:
    """Replace such a file of a model.

    Raises:
        RepositoryError: It can't be written; the old file is unchanged.
    """
    repository.replace(model, name, format_object(content))


def format_object(content: Mapping[str, object]) -> bytes:
    """Return the bytes of such a file."""
    return f"{json.dumps(content, indent=2, sort_keys=True)}\n".encode()
