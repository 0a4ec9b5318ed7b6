"""Results of the client as the JSON of `ClassifyReply`."""

import base64
import io
import zlib
from collections.abc import Sequence
from struct import pack
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from convscope.client import Classification, ConvscopeError, Explanation, FeatureMap, ImageCrop
from convscope.web.errors import error_reply, from_client

__all__ = ["Format", "is_slow", "to_reply"]

Format = Literal["png", "npy"]
PERCENTILES = (1, 99)
_PNG = b"\x89PNG\r\n\x1a\n"
_SMALL_VALUES = 4096


def to_reply(
    outcomes: Sequence[Classification | ConvscopeError], format: Format, seconds: float
) -> dict[str, Any]:
    """Return a `ClassifyReply`. At least one of the outcomes must be a result."""
    results = [outcome for outcome in outcomes if isinstance(outcome, Classification)]
    first = results[0]
    slowest = max(
        (result.stage_seconds for result in results),
        key=lambda times: times.decode + times.queue + times.infer + times.encode,
    )
    return {
        "model": first.model,
        "version": first.version,
        "provider": first.provider,
        "results": [_outcome(outcome, format) for outcome in outcomes],
        "timing_ms": {
            "total": _milliseconds(seconds),
            "decode": _milliseconds(slowest.decode),
            "queue": _milliseconds(slowest.queue),
            "infer": _milliseconds(slowest.infer),
            "encode": _milliseconds(slowest.encode),
        },
    }


def is_slow(outcomes: Sequence[Classification | ConvscopeError]) -> bool:
    """Report whether encoding the results would block an event loop."""
    return any(
        sum(feature_map.array.size for feature_map in outcome.feature_maps.values()) > _SMALL_VALUES
        for outcome in outcomes
        if isinstance(outcome, Classification)
    )


def _outcome(outcome: Classification | ConvscopeError, format: Format) -> dict[str, Any]:
    if isinstance(outcome, ConvscopeError):
        error = error_reply(from_client(outcome))
        return {"predictions": [], "crop": None, "feature_maps": [], "explanations": []} | error
    return {
        "predictions": [
            {"index": score.index, "label": score.label, "probability": score.probability}
            for score in outcome.classes
        ],
        "crop": _crop(outcome.crop),
        "feature_maps": [
            _png_map(each) if format == "png" else _npy_map(each)
            for each in outcome.feature_maps.values()
        ],
        "explanations": [_explanation(each) for each in outcome.explanations],
        "error": None,
    }


def _crop(crop: ImageCrop | None) -> dict[str, float] | None:
    if crop is None:
        return None
    return {
        "x": crop.left,
        "y": crop.top,
        "width": crop.right - crop.left,
        "height": crop.bottom - crop.top,
        "photo_width": crop.image_width,
        "photo_height": crop.image_height,
    }


def _explanation(explanation: Explanation) -> dict[str, Any]:
    target, against = explanation.target, explanation.against
    return {
        "class_index": target.index,
        "label": target.label,
        "probability": target.probability,
        "against": None
        if against is None
        else {
            "index": against.index,
            "label": against.label,
            "probability": against.probability,
        },
        "method": explanation.method,
        "logit": explanation.logit,
        "remainder": explanation.remainder,
        "share": explanation.share,
        "limit": explanation.limit,
        "shape": list(explanation.array.shape),
        "values": np.ascontiguousarray(explanation.array),
    }


def _npy_map(feature_map: FeatureMap) -> dict[str, Any]:
    file = io.BytesIO()
    np.save(file, feature_map.array, allow_pickle=False)
    return {
        "name": feature_map.name,
        "shape": list(feature_map.array.shape),
        "channels": feature_map.channels,
        "npy": base64.b64encode(file.getbuffer()).decode(),
    }


def _png_map(feature_map: FeatureMap) -> dict[str, Any]:
    array = feature_map.array  # float32 [C, H, W]
    indices: Sequence[int | None] = feature_map.channels or (None,) * len(array)
    means = array.mean(axis=(1, 2)).tolist()
    lows, highs = np.percentile(array, PERCENTILES, axis=(1, 2)).astype(np.float32)
    grays = _grays(array, lows, highs)
    return {
        "name": feature_map.name,
        "shape": list(array.shape),
        "channels": [
            {
                "index": index,
                "strength": mean,
                "low": low,
                "high": high,
                "png": base64.b64encode(gray_png(gray)).decode(),
            }
            for index, mean, low, high, gray in zip(
                indices, means, lows.tolist(), highs.tolist(), grays, strict=True
            )
        ],
    }


def _grays(
    array: NDArray[np.float32], lows: NDArray[np.float32], highs: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Scale each channel on its own to 0 to 255, as the contact sheets of the client do."""
    spans = np.where(highs > lows, highs - lows, 1)
    scaled = (array - lows[:, None, None]) * (255 / spans)[:, None, None]
    grays: NDArray[np.uint8] = np.clip(scaled + 0.5, 0, 255).astype(np.uint8)
    return grays


def gray_png(gray: NDArray[np.uint8]) -> bytes:
    """Encode uint8 [H, W] as PNG. For pictures of that size Pillow's overhead would dominate."""
    height, width = gray.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row starts with its filter, 0
    rows[:, 1:] = gray
    header = pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 1)
    return b"".join((_PNG, _chunk(b"IHDR", header), _chunk(b"IDAT", body), _chunk(b"IEND", b"")))


def _chunk(kind: bytes, body: bytes) -> bytes:
    check = zlib.crc32(body, zlib.crc32(kind))
    return b"".join((pack(">I", len(body)), kind, body, pack(">I", check)))


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
