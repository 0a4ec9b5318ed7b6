"""The result of each image as a record of plain values, which becomes JSON or rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from convscope.client.errors import ConvscopeError
from convscope.client.types import Classification

__all__ = ["Record", "error_record", "result_record"]

Record: TypeAlias = dict[str, Any]


def result_record(image: str, result: Classification, saved: Sequence[Path] = ()) -> Record:
    """Return the record of a result: its `to_dict()` with the paths of its pictures."""
    explanations = [each.to_dict(arrays=True) for each in result.explanations]
    record = result.to_dict() | {"image": image, "explanations": explanations}
    return record | {"saved": [str(path) for path in saved]}


def error_record(image: str, error: ConvscopeError) -> Record:
    """Return the record of an image that failed."""
    return {"image": image, "error": {"code": error.code.name, "message": error.message}}
