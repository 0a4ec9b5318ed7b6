"""Results as JSON, one object per line, for other programs."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convscope.client.errors import ConvscopeError
from convscope.client.types import Classification, Explanation, ModelInfo, ModelSummary

__all__ = ["Reporter", "print_model", "print_models", "to_json"]


class Reporter:
    """Prints one line for each image, as soon as its result is known."""

    def add(self, image: str, result: Classification, saved: Sequence[Path]) -> None:
        """Print a result and the paths of its pictures."""
        _print(
            {
                "image": image,
                "model": result.model,
                "version": result.version,
                "provider": result.provider,
                "classes": [asdict(score) for score in result.classes],
                "stage_seconds": asdict(result.stage_seconds),
                "saved": [str(path) for path in saved],
                "feature_maps": {
                    name: {"shape": list(feature_map.array.shape)}
                    for name, feature_map in result.feature_maps.items()
                },
                "crop": asdict(result.crop) if result.crop is not None else None,
                "explanations": list(map(_explanation, result.explanations)),
            }
        )

    def add_error(self, image: str, error: ConvscopeError) -> None:
        """Print the error of an image."""
        _print({"image": image, "error": {"code": error.code.name, "message": error.message}})

    def finish(self) -> None:
        """Do nothing: each line is printed at once."""


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


def _explanation(explanation: Explanation) -> dict[str, Any]:
    against = explanation.against
    return {
        "target": asdict(explanation.target),
        "against": asdict(against) if against is not None else None,
        "method": explanation.method,
        "tensor": explanation.tensor,
        "logit": explanation.logit,
        "remainder": explanation.remainder,
        "share": explanation.share,
        "heat": explanation.array.tolist(),
    }


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
