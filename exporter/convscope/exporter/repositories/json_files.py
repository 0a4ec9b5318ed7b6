"""The small JSON files beside a model's versions."""

import json
from collections.abc import Mapping
from typing import Any

from convscope.exporter.repositories.repository import Repository, RepositoryError

__all__ = ["is_number", "read_object", "unreadable", "write_object"]


def read_object(repository: Repository, model: str, name: str, example: str) -> dict[str, Any]:
    """Read a file that holds a JSON object; without the file, an empty one.

    Args:
        repository: Where the model lies.
        model: The model's name.
        name: The file's.
        example: What such a file looks like.

    Raises:
        RepositoryError: It holds something else.
    """
    data = repository.read(model, name)
    if data is None:
        return {}
    try:
        found = json.loads(data)
    except ValueError as error:
        raise unreadable(repository, model, name, example) from error
    if not isinstance(found, dict):
        raise unreadable(repository, model, name, example)
    return found


def write_object(
    repository: Repository, model: str, name: str, content: Mapping[str, object]
) -> None:
    """Replace such a file."""
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    repository.replace(model, name, text.encode())


def unreadable(repository: Repository, model: str, name: str, example: str) -> RepositoryError:
    """Say that a file holds something else, and what to do about it."""
    return RepositoryError(
        f"{repository.location}/{model}/{name} isn't JSON like {example}; "
        "mend it, or remove it if nothing asks for what it says"
    )


def is_number(value: object) -> bool:
    """Whether a value of a JSON file can be a version's number."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
