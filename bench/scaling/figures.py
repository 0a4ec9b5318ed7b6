"""The measured figures from which the page derives everything, and the commands that print them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report import RESULTS

__all__ = ["LATEST", "SCALE", "Parts", "Work", "parts", "read", "service", "works"]

LATEST = RESULTS / "latest.json"
SCALE = RESULTS / "scale.json"

_LITE0, _RESNET = "EfficientNet-Lite0", "ResNet-50"
_SIZES = {"500x375": "500×375", "1024x768": "1024×768", "4000x3000": "4000×3000"}


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of request with one image.

    Args:
        name: The network and the input.
        cpu_us: The server's CPU time per image in microseconds.
        request_bytes: The size of the request.
        command: The command that measures the CPU time.
    """

    name: str
    cpu_us: float
    request_bytes: int
    command: str


@dataclass(frozen=True, slots=True)
class Parts:
    """The CPU time of an image by what it is for, in microseconds.

    Args:
        name: The network, its precision and the input.
        network: ONNX Runtime.
        decoding: Decoding and resizing.
        messages: Receiving, checking, batching, ranking, answering and logging.
        request_bytes: The size of the request.
        rest: What a served tensor takes beyond the network and the messages, such as to copy it
            into a batch.
        ray: The processes of Ray Serve.
    """

    name: str
    network: float
    decoding: float
    messages: float
    request_bytes: int
    rest: float = 0.0
    ray: float = 0.0

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return self.network + self.decoding + self.messages + self.rest + self.ray

    @property
    def largest(self) -> str:
        """The name of the largest part."""
        names = ("network", "decoding", "messages", "rest", "ray")
        largest = max(names, key=lambda name: float(getattr(self, name)))
        return largest.capitalize() if largest == "ray" else largest


def read(path: Path) -> dict[str, Any]:
    """Return the results of a run of the bench."""
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def service(latest: Mapping[str, Any], scale: Mapping[str, Any]) -> dict[str, Any]:
    """Return the time of a batch of EfficientNet-Lite0 on one core, as the simulation needs it.

    It is that of `make scale`, or, where that was not measured, the CPU time per image with an
    assumed variation.
    """
    measured: dict[str, float] | None = scale["queue"]["details"].get("service")
    if measured is not None:
        return {**measured, "is_measured": True}
    seconds = _cpu(latest, "tensor_efficiency.efficientnet_lite0", "served") / 1e6
    return {
        "batch_seconds": 0.0,
        "image_seconds": seconds,
        "variation": 0.1,
        "is_measured": False,
    }


def works(latest: Mapping[str, Any], scale: Mapping[str, Any]) -> list[Work]:
    """Return the kinds of requests, the cheapest first."""
    sizes: Mapping[str, int] = scale["bytes"]["details"]["requests"]
    tensor, tensor_bytes = f"{_LITE0}, tensor", sizes["tensor"]
    found = [
        _work(latest, "digits, tensor", "tiny_vs_empty_rpc", "ours", sizes["digits"]),
        _work(latest, tensor, "tensor_efficiency.efficientnet_lite0", "served", tensor_bytes),
        *(
            _work(
                latest,
                f"{_LITE0}, JPEG {label}",
                f"jpeg_speedup.{size}",
                "ours",
                sizes[f"jpeg {size}"],
            )
            for size, label in _SIZES.items()
        ),
        _work(latest, f"{_RESNET}, tensor", "tensor_efficiency.resnet50", "served", tensor_bytes),
    ]
    return sorted(found, key=lambda work: work.cpu_us)


def parts(latest: Mapping[str, Any], scale: Mapping[str, Any], ray_us: float) -> list[Parts]:
    """Return the parts of EfficientNet-Lite0's time for several precisions, inputs and routes."""
    sizes: Mapping[str, int] = scale["bytes"]["details"]["requests"]
    served = _cpu(latest, "tensor_efficiency.efficientnet_lite0", "served")
    network = _cpu(latest, "tensor_efficiency.efficientnet_lite0", "in_process")
    messages = _cpu(latest, "tensor_cpu_us", "ours")
    rest = max(0.0, served - network - messages)
    decoding = {
        size: max(0.0, _cpu(latest, f"jpeg_speedup.{size}", "ours") - served) for size in _SIZES
    }

    def jpeg(name: str, size: str, network: float, rest: float = rest, ray: float = 0.0) -> Parts:
        name = f"{name}, JPEG {_SIZES[size]}"
        return Parts(name, network, decoding[size], messages, sizes[f"jpeg {size}"], rest, ray)

    rows = [jpeg("FP32", "500x375", network)]
    if fastest := _fastest(latest):
        name, speed = fastest
        rows.append(jpeg(name, "500x375", network / speed))
        network, kind = network / speed, name
    else:
        kind = "FP32"
    rows += [
        jpeg(kind, "1024x768", network),
        jpeg(kind, "4000x3000", network),
        jpeg("a network of no cost, such as on a GPU", "500x375", 0.0, rest=0.0),
        Parts("a network of no cost, tensor", 0.0, 0.0, messages, sizes["tensor"]),
        jpeg(f"{kind}, through Ray Serve", "500x375", network, ray=ray_us),
    ]
    return rows


def _fastest(latest: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the fastest measured precision and its speed relative to FP32; None if none was."""
    keys = {"INT8": "int8_speed.efficientnet_lite0", "BF16": "bf16_speed.efficientnet_lite0"}
    speeds = {
        name: latest["figures"][key]["value"]
        for name, key in keys.items()
        if key in latest["figures"]
    }
    return max(speeds.items(), key=lambda item: item[1]) if speeds else None


def _work(latest: Mapping[str, Any], name: str, key: str, side: str, request_bytes: int) -> Work:
    command = f"python -m bench --only {key.partition('.')[0] if 'jpeg' in key else key}"
    return Work(name, _cpu(latest, key, side), request_bytes, command)


def _cpu(latest: Mapping[str, Any], key: str, side: str) -> float:
    value: float = latest["figures"][key]["cpu_us"][side]
    return value
