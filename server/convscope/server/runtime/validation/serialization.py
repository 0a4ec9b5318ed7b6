"""Examinations as JSON, from the server to the fork server."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial, reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from convscope.server.runtime.validation.examination import Examination

__all__ = ["from_json", "to_json"]

_ROOMS = ("convscope.server.", "convscope.bundle.")
_TYPE, _PARTIAL, _PATH = "$type", "$partial", "$path"


def to_json(examination: Examination) -> bytes:
    """Return the line of an examination, without its end."""
    return json.dumps(_encode(examination)).encode()


def from_json(line: bytes) -> Examination:
    """Read the line of an examination.

    Raises:
        TypeError: It is something else.
    """
    examination = _decode(json.loads(line))
    if not isinstance(examination, Examination):
        raise TypeError(f"{type(examination).__name__} is no examination")
    return examination


def _encode(value: Any) -> Any:
    """Return plain values; objects are dataclasses, paths, or classes with some arguments."""
    if isinstance(value, Path):
        return {_PATH: str(value)}
    if isinstance(value, partial):
        keywords = {name: _encode(each) for name, each in value.keywords.items()}
        return {_PARTIAL: _name(value.func), **keywords}
    if is_dataclass(value):
        content = {one.name: _encode(getattr(value, one.name)) for one in fields(value)}
        return {_TYPE: _name(type(value)), **content}
    if isinstance(value, Mapping):
        return {name: _encode(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(each) for each in value]
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_decode, value))
    if not isinstance(value, dict):
        return value
    if _PATH in value:
        return Path(value[_PATH])
    content = {name: _decode(each) for name, each in value.items() if name not in (_TYPE, _PARTIAL)}
    if _TYPE in value:
        return _find(value[_TYPE])(**content)
    if _PARTIAL in value:
        return partial(_find(value[_PARTIAL]), **content)
    return content


def _name(one: Any) -> str:
    return f"{one.__module__}:{one.__qualname__}"


def _find(name: str) -> Any:
    """Return a class of the server or of bundles.

    Raises:
        TypeError: The name is of something else.
    """
    module, _, path = name.partition(":")
    if not module.startswith(_ROOMS):
        raise TypeError(f"{name} is no class of ours")
    return reduce(getattr, path.split("."), import_module(module))
