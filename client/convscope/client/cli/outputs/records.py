"""The result of each image as a record of plain values, which becomes JSON or rows."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from convscope.client.errors import ConvscopeError
from convscope.client.types import Classification, Explanation

__all__ = ["Record", "error_record", "result_record"]

Record: TypeAlias = dict[str, Any]


def result_record(image: str, result: Classification, saved: Sequence[Path] = ()) -> Record:
    """Return the record of a result, with the paths of its pictures."""
    return {
        "image": image,
        "model": result.model,
        "version": result.version,
        "provider": result.provider,
        "classes": [
            {"index": score.index, "label": score.label, "probability": score.probability}
            for score in result.classes
        ],
        "stage_seconds": asdict(result.stage_seconds),
        "saved": [str(path) for path in saved],
        "feature_maps": {
            name: {"shape": list(feature_map.array.shape)}
            for name, feature_map in result.feature_maps.items()
        },
        "crop": asdict(result.crop) if result.crop is not None else None,
        "explanations": list(map(_explanation, result.explanations)),
    }


def error_record(image: str, error: ConvscopeError) -> Record:
    """Return the record of an image that failed."""
    return {"image": image, "error": {"code": error.code.name, "message": error.message}}


def _explanation(explanation: Explanation) -> Record:
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
