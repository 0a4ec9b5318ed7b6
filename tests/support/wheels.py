"""Simulate ONNX Runtime of other wheels and machines, with recorded behavior."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import onnxruntime as ort
import pytest

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
TENSORRT, OPENVINO = "TensorrtExecutionProvider", "OpenVINOExecutionProvider"

# The results of get_available_providers(): onnxruntime 1.32.0; onnxruntime-gpu 1.31.1, with or
# without a GPU; onnxruntime-openvino 1.24.1.
CPU_WHEEL = [CPU]
GPU_WHEEL = [TENSORRT, CUDA, CPU]
OPENVINO_WHEEL = [OPENVINO, CPU]

_REAL = ort.InferenceSession
_LEFT_TO_CPU = (
    "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are assigned to the "
    "default CPU EP, but fallback to CPU EP has been explicitly disabled by the user."
)
_NO_TENSORRT = (
    "/onnxruntime_src/onnxruntime/python/onnxruntime_pybind_state.cc:729 void onnxruntime::python::"
    "RegisterTensorRTPluginsAsCustomOps(PySessionOptions&, const onnxruntime::ProviderOptions&) "
    "Please install TensorRT libraries as mentioned in the GPU requirements page, make sure "
    "they're in the PATH or LD_LIBRARY_PATH, and that your GPU is supported."
)


class Pretended:
    """A session that reports the first provider and computes on the CPU.

    `starts` are the providers that can start. `left_to_cpu` are the types of nodes that the first
    provider leaves to the CPU. The resulting behavior was recorded from the real wheels.
    """

    starts: Sequence[str] = (CPU, CUDA, TENSORRT, OPENVINO)
    left_to_cpu: Sequence[str] = ()

    def __init__(
        self,
        graph: bytes,
        options: ort.SessionOptions | None = None,
        *,
        providers: Sequence[tuple[str, dict[str, str]]],
        enable_fallback: int,
    ) -> None:
        assert enable_fallback == 0
        names = [name for name, _ in providers]
        if TENSORRT in names and TENSORRT not in self.starts:
            raise RuntimeError(_NO_TENSORRT)
        self.options = dict(providers)
        self.running = [name for name in names if name in self.starts]
        on_cpu = not self.running or self.left_to_cpu
        if on_cpu and options is not None and _is_strict(options):
            raise RuntimeError(_LEFT_TO_CPU)
        self._real = _REAL(graph, providers=[CPU])

    def get_providers(self) -> list[str]:
        return list(dict.fromkeys([*self.running, CPU]))

    def get_provider_graph_assignment_info(self) -> list[Any]:
        (first, *_), types = self.get_providers(), self.left_to_cpu
        parts = [(first, ["Conv", "Relu"]), (CPU, types)] if types else [(first, ["Conv", "Relu"])]
        return [
            SimpleNamespace(
                ep_name=name,
                get_nodes=lambda types=types: [SimpleNamespace(op_type=one) for one in types],
            )
            for name, types in parts
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def pretend(
    monkeypatch: pytest.MonkeyPatch,
    wheel: Sequence[str],
    *,
    starts: Sequence[str] | None = None,
    left_to_cpu: Sequence[str] = (),
) -> None:
    """Simulate another wheel in this process."""
    session = type("Session", (Pretended,), {"starts": starts or wheel, "left_to_cpu": left_to_cpu})
    monkeypatch.setattr(ort, "get_available_providers", lambda: list(wheel))
    monkeypatch.setattr(ort, "InferenceSession", session)


def _is_strict(options: ort.SessionOptions) -> bool:
    try:
        entry: str = options.get_session_config_entry("session.disable_cpu_ep_fallback")
    except RuntimeError:  # not set
        return False
    return entry == "1"
