"""Settings as JSON, for the way from the supervisor to its workers."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from convscope.server.config.settings import Settings

__all__ = ["from_json", "to_json"]


def to_json(settings: Settings) -> bytes:
    """Return the settings as one line of JSON."""
    return json.dumps(asdict(settings), default=str).encode()  # str: paths


def from_json(data: bytes) -> Settings:
    """Return the settings that `to_json` wrote."""
    settings: Settings = _restore(Settings, json.loads(data))
    return settings


def _restore(kind: Any, value: Any) -> Any:
    """Turn plain JSON into the type that a field's annotation names."""
    origin, arguments = get_origin(kind), get_args(kind)
    if value is None:
        return None
    if origin is UnionType:  # X | None
        return _restore(arguments[0], value)
    if origin is tuple:
        return tuple(_restore(arguments[0], item) for item in value)
    if origin is Mapping:
        return {name: _restore(arguments[1], item) for name, item in value.items()}
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{f.name: _restore(hints[f.name], value[f.name]) for f in fields(kind)})
    return Path(value) if kind is Path else value
