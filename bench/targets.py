"""The table of the keys: the meaning and the targets of each."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bench.sampling import Figure

__all__ = ["PEER_NAMES", "TARGETS", "Target", "rows"]


@dataclass(frozen=True, slots=True)
class Target:
    """The targets of one key.

    Args:
        what: The meaning of the figure, for the table.
        at_least: The smallest acceptable value.
        at_most: The largest acceptable value.
        desired: The value that is desired beyond the acceptable one.
        digits: The number of decimals in the table.
    """

    what: str
    at_least: float | None = None
    at_most: float | None = None
    desired: float | None = None
    digits: int = 2

    @property
    def required(self) -> float | None:
        """Return the acceptable value, or None if the figure is only recorded."""
        return self.at_most if self.at_least is None else self.at_least

    def verdict(self, value: float | None) -> str:
        """Return what a figure reaches: no, yes, desired, not measured, or nothing."""
        if value is None:
            return "not measured"
        if self.required is None:
            return ""
        if self.desired is not None and self._reaches(value, self.desired):
            return "desired"
        return "yes" if self._reaches(value, self.required) else "no"

    def condition(self, value: float | None) -> str:
        """Format the required or the desired value as a condition."""
        if value is None:
            return ""
        return f"{'≥' if self.at_most is None else '≤'} {value:g}"

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.at_most is None else value <= bound


_SERVED = (
    "images/s served, relative to ONNX Runtime in process at its fastest setting, uint8 tensors"
)
_OIP = "digits calls/s with the Open Inference Protocol, relative to Classify, raw tensors"
_LITE0 = "efficientnet_lite0"
_EXPLAINED = "server CPU per call with Grad-CAM of the best class, relative to calls without"
_FIVE = "server CPU per call with Grad-CAM of five classes, relative to one"
_INT8 = "images/s in INT8 on the best provider, relative to FP32 on the CPU provider"
_INT8_CPU = "the same on the CPU provider alone"
_BF16 = (
    "images/s on OpenVINO in BF16 on a CPU with AMX, relative to the CPU provider in FP32; two "
    "runs at once with one thread each"
)
_KEPT = "share of best classes that INT8 keeps where FP32's lead by 0.1"
_JPEG = "images/s from JPEG, relative to the same server with Pillow's full decode"
# The default of --max-memory-in-flight and 64 MB, in units of 10^6 bytes.
_LARGE_CALLS_MB = 2**28 / 1e6 + 64

TARGETS: dict[str, Target] = {
    "tiny_vs_empty_rpc": Target(
        "digits calls/s at 64 in flight, relative to an empty grpc.aio method",
        at_least=2.0,
        desired=2.7,
    ),
    "tiny_on_grpc_aio": Target("the same with --transport grpc-aio", at_least=0.65, desired=0.8),
    "tensor_efficiency.resnet50": Target(_SERVED, at_least=0.98, desired=0.99),
    "tensor_efficiency.efficientnet_lite0": Target(_SERVED, at_least=0.96, desired=0.99),
    "lone_latency_ratio.efficientnet_lite0": Target(
        "median latency with one call in flight, relative to ONNX Runtime in process at its "
        "fastest setting for one call",
        at_most=1.12,
        desired=1.06,
    ),
    "tensor_cpu_us": Target(
        "server CPU per call with a 150 kB tensor and a network of almost no cost, relative to an "
        "empty grpc.aio method that receives the same bytes",
        at_most=0.6,
        desired=0.4,
    ),
    "oip_vs_own.probabilities": Target(_OIP, at_least=0.9),
    "oip_vs_own.all_outputs": Target(_OIP, at_least=0.9),
    "many_digits": Target(
        "images/s of classify_many, relative to ONNX Runtime with batch 64, one thread",
        at_least=0.5,
        desired=0.7,
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
    f"explain_cost.{_LITE0}": Target(_EXPLAINED, at_most=1.15),
    "explain_cost.resnet50": Target(_EXPLAINED, at_most=1.15),
    "explain_cost.vgg11": Target(_EXPLAINED, at_most=1.3),
    f"explain_five_cost.{_LITE0}": Target(_FIVE, at_most=1.1),
    "explain_five_cost.resnet50": Target(_FIVE, at_most=1.1),
    "explain_five_cost.vgg11": Target(_FIVE, at_most=1.1),
    "openvino_speed": Target(
        "images/s of EfficientNet-Lite0 on OpenVINO, relative to the CPU provider, uint8 tensors"
    ),
    "openvino_parity": Target(
        "largest difference of a probability between the two providers for three photos",
        at_most=0.03,
        digits=8,
    ),
    "bf16_speed.resnet50": Target(_BF16, at_least=2.5),
    "bf16_speed.mobilenet_v2": Target(_BF16, at_least=1.8),
    "bf16_speed.efficientnet_lite0": Target(_BF16, at_least=1.7),
    "auto_provider_speed.efficientnet_lite0": Target(
        "images/s served with --provider auto where OpenVINO is installed, relative to the CPU "
        "provider in FP32, uint8 tensors",
        at_least=1.7,
        desired=2.2,
    ),
    "int8_speed.resnet50": Target(_INT8, at_least=4.0, desired=5.0),
    "int8_speed.mobilenet_v2": Target(_INT8, at_least=2.2, desired=2.7),
    "int8_speed.efficientnet_lite0": Target(_INT8, at_least=1.9, desired=2.3),
    "int8_speed_on_cpu.resnet50": Target(_INT8_CPU, at_least=2.5, desired=3.0),
    "int8_speed_on_cpu.mobilenet_v2": Target(_INT8_CPU, at_least=1.6, desired=2.0),
    "int8_speed_on_cpu.efficientnet_lite0": Target(_INT8_CPU, at_least=1.6, desired=1.9),
    "int8_top1_kept.efficientnet_lite0": Target(
        f"{_KEPT}, photos of which none calibrates", at_least=0.99, desired=0.999, digits=4
    ),
    "int8_top1_kept.mnist_lenet": Target(
        f"{_KEPT}, all test images of MNIST", at_least=0.99, desired=0.999, digits=4
    ),
    "int8_top1_kept.fashion_mnist_lenet": Target(
        f"{_KEPT}, all test images of Fashion-MNIST", at_least=0.99, desired=0.999, digits=4
    ),
    "ready_seconds": Target(
        "seconds from start to readiness with EfficientNet-Lite0, tuned",
        at_most=1.5,
        desired=1.0,
    ),
    "idle_rss_mb": Target("MB of memory after that start", at_most=200.0, desired=170, digits=0),
    "rss_at_500_large_calls_mb": Target(
        "MB of growth at the peak with 500 concurrent calls of 8 MB; the memory in flight may "
        "have 268 MB",
        at_most=round(_LARGE_CALLS_MB),
        digits=0,
    ),
    "overload_goodput": Target(
        "replies within the deadline at 5 times the capacity, relative to the peak", at_least=0.9
    ),
    "rejection_ms_under_overload": Target(
        "p99 in ms of a rejected call at 5 times the capacity", at_most=20, digits=1
    ),
    "health_ms_under_overload": Target(
        "p99 in ms of a health check at 5 times the capacity", at_most=50, desired=20, digits=1
    ),
    "fairness_p99_ratio": Target(
        "interactive p99 while another model is overloaded, relative to the p99 without load",
        at_most=2.5,
    ),
    "abuse_p99_ratio": Target(
        "p99 while another client floods the server with frames, relative to the p99 without",
        at_most=2.0,
    ),
    "swap_failures": Target("requests of 20,000 that failed during 50 swaps", at_most=0, digits=0),
    "swap_p99_ratio": Target(
        "p99 during the swaps, relative to the p99 without swaps", at_most=1.5
    ),
    "memory_slope_mb_per_10k": Target("MB of growth per 10,000 mixed requests"),
    "memory_growth_mb": Target("MB of growth over all mixed requests"),
}

_PEER_WORK = {
    "jpeg": "images/s from JPEG; the peer decodes at full size",
    "jpeg_draft": "images/s from JPEG; the peer decodes scaled (Image.draft)",
    "tensor": "images/s, uint8 tensors",
    "tiny": "digits calls/s",
}
PEER_NAMES = ("triton", "mlserver", "litserve", "bentoml")

for _peer in PEER_NAMES:
    for _work, _what in _PEER_WORK.items():
        TARGETS[f"peers.{_peer}.{_work}"] = Target(_what, at_least=1.05, desired=1.15)
TARGETS["peers.triton.tiny"] = Target(_PEER_WORK["tiny"], at_least=1.3, desired=2.0)


def rows(figures: Mapping[str, Figure]) -> list[dict[str, Any]]:
    """Compare every figure with its targets."""
    return [_row(key, target, figures.get(key)) for key, target in TARGETS.items()]


def _row(key: str, target: Target, figure: Figure | None) -> dict[str, Any]:
    value = None if figure is None else figure.value
    return {
        "key": key,
        "what": target.what,
        "required": target.condition(target.required) or "recorded",
        "desired": target.condition(target.desired),
        "reached": target.verdict(value),
        **(asdict(figure) if figure else {"value": None}),
    }
