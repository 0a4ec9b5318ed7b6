"""The table of the keys: the meaning and the target of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["TARGETS", "Target", "look_up", "rows"]


@dataclass(frozen=True, slots=True)
class Target:
    """The target of one key.

    Args:
        what: The meaning of the figure, for the table.
        at_least: The smallest acceptable value.
        at_most: The largest acceptable value.
        above: The value that the figure must exceed.
        digits: The number of decimals in the table.
    """

    what: str
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    digits: int = 2

    def reached(self, value: float | None) -> bool | None:
        """Return whether a figure reaches the target; None if it is only recorded."""
        if self.at_least is None and self.at_most is None and self.above is None:
            return None
        if value is None:
            return False
        return not (
            (self.at_least is not None and value < self.at_least)
            or (self.at_most is not None and value > self.at_most)
            or (self.above is not None and value <= self.above)
        )

    def __str__(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return "recorded" if self.above is None else f"> {self.above:g}"


_SERVED = (
    "images/s served, relative to ONNX Runtime in process at its fastest setting, uint8 tensors"
)
_OIP = "digits calls/s with the Open Inference Protocol, relative to Classify, raw tensors"
_JPEG = "images/s from JPEG, relative to the same server with Pillow's full decode"

TARGETS: dict[str, Target] = {
    "tensor_efficiency.resnet50": Target(_SERVED, at_least=0.97),
    "tensor_efficiency.efficientnet_lite0": Target(_SERVED, at_least=0.94),
    "latency_overhead_ms.efficientnet_lite0": Target(
        "median latency in ms with one call in flight, minus that in process", at_most=0.8
    ),
    "tiny_vs_empty_rpc": Target(
        "digits calls/s, relative to an empty grpc.aio method", at_least=0.65
    ),
    "oip_vs_own.probabilities": Target(_OIP, at_least=0.9),
    "oip_vs_own.all_outputs": Target(_OIP, at_least=0.9),
    "many_digits": Target(
        "images/s of classify_many, relative to ONNX Runtime with batch 64, one thread",
        at_least=0.25,
    ),
    "sdk_concurrent_digits": Target(
        "images/s of 256 concurrent classify calls, relative to the same without request batching",
        at_least=3.0,
    ),
    "jpeg_speedup.500x375": Target(_JPEG, at_least=1.0),
    "jpeg_speedup.1024x768": Target(_JPEG, at_least=1.1),
    "jpeg_speedup.4000x3000": Target(_JPEG, at_least=2.5),
    "feature_map_idle_cost": Target(
        "images/s with unrequested feature maps in the bundle, relative to a bundle without",
        at_least=0.98,
    ),
    "feature_map_bandwidth_mb_s": Target("MB/s of feature maps that reach the client", digits=0),
    "openvino_speed": Target(
        "images/s of EfficientNet-Lite0 on OpenVINO, relative to the CPU provider, uint8 tensors"
    ),
    "openvino_parity": Target(
        "largest difference of a probability between the two providers for three photos",
        at_most=0.03,
        digits=8,
    ),
    "ready_seconds": Target("seconds from start to readiness with EfficientNet-Lite0", at_most=1.5),
    "idle_rss_mb": Target("MB of memory after that start", at_most=200.0, digits=0),
    "overload_goodput": Target(
        "replies within the deadline at 3 times the capacity, relative to the peak", at_least=0.85
    ),
    "fairness_p99_ratio": Target(
        "interactive p99 while another model is overloaded, relative to the p99 without load",
        at_most=3.0,
    ),
    "abuse_p99_ratio": Target(
        "p99 while another client floods the server with frames, relative to the p99 without",
        at_most=2.0,
    ),
    "swap_failures": Target("requests of 20,000 that failed during 50 swaps", at_most=0, digits=0),
    "swap_p99_ratio": Target(
        "p99 during the swaps, relative to the p99 without swaps", at_most=2.0
    ),
    "memory_slope_mb_per_10k": Target("MB of growth per 10,000 mixed requests"),
    "memory_growth_mb": Target("MB of growth over all mixed requests"),
}

_PEER_WORK = {
    "jpeg": "images/s from JPEG; the peer decodes at full size",
    "jpeg_draft": "images/s from JPEG; the peer decodes scaled (Image.draft)",
    "tensor": "images/s, uint8 tensors",
    "tiny": "calls/s, digits",
}
PEER_NAMES = ("triton", "mlserver", "litserve", "bentoml")

for _peer in PEER_NAMES:
    for _work, _what in _PEER_WORK.items():
        TARGETS[f"peers.{_peer}.{_work}"] = Target(
            f"{_what}; Convscope relative to {_peer}", above=None if _work == "jpeg_draft" else 1.0
        )


def look_up(figures: Mapping[str, Any], key: str) -> float | None:
    """Find a figure by its dotted key. Return None if there is none."""
    value: Any = figures
    for part in _parts(figures, key):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) else None


def rows(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare every figure with its target."""
    return [
        {
            "key": key,
            "value": look_up(figures, key),
            "target": str(target),
            "reached": target.reached(look_up(figures, key)),
            "what": target.what,
        }
        for key, target in TARGETS.items()
    ]


def _parts(figures: Mapping[str, Any], key: str) -> list[str]:
    return [key] if key in figures else key.split(".")
