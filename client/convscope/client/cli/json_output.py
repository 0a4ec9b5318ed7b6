"""Results as JSON, one object per line, for other programs."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from convscope.client.types import ModelInfo, ModelSummary

__all__ = ["print_model", "print_models", "to_json"]


def print_models(summaries: Sequence[ModelSummary]) -> None:
    """Print one line for each version."""
    for summary in summaries:
        _print(asdict(summary))


def print_model(info: ModelInfo) -> None:
    """Print one version in full."""
    fields = asdict(info)
    created_at = info.provenance.created_at
    fields["provenance"]["created_at"] = created_at.isoformat() if created_at else None
    _print(fields)


def to_json(value: Any) -> str:
    """Return one line of JSON, with null for NaN and infinity, which JSON doesn't have."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def _print(fields: dict[str, Any]) -> None:
    print(to_json(fields), flush=True)
