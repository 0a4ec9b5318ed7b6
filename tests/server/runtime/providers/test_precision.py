"""The precision in which a provider computes is measured, and is the one that was asked for."""

import json
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support.tiny import tiny_graph
from support.wheels import CPU_WHEEL, GPU_WHEEL, OPENVINO_WHEEL, pretend

from convscope.server.errors import BundleRejectedError
from convscope.server.runtime.providers import ProviderPolicy
from convscope.server.runtime.providers.openvino import openvino_options
from convscope.server.runtime.providers.precision import PROBE, measure_precision
from convscope.server.runtime.providers.session import open_session

Floats = NDArray[np.float32]


class Rounding:
    """A session whose arithmetic rounds."""

    def __init__(self, keep_bits: int, largest: float = np.inf) -> None:
        self._keep_bits = keep_bits
        self._largest = largest

    def run(self, _: list[str], feeds: dict[str, Floats], /) -> list[Floats]:
        fraction, exponent = np.frexp(feeds["x"].astype(np.float64))
        scale = 2.0 ** (self._keep_bits + 1)
        rounded = np.ldexp(np.round(fraction * scale) / scale, exponent)
        rounded[rounded > self._largest] = np.inf
        return [rounded.astype(np.float32)]


@pytest.mark.parametrize(
    ("session", "precision"),
    [
        (Rounding(23), "fp32"),
        (Rounding(10), "tf32"),
        (Rounding(10, largest=65504), "fp16"),
        (Rounding(7), "bf16"),
        (Rounding(3), "unknown"),
    ],
)
def test_each_format_is_recognized(session: Rounding, precision: str) -> None:
    assert measure_precision(lambda _: session) == precision


def test_the_probe_is_a_convolution_which_the_cpu_provider_computes_exactly() -> None:
    spec = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "p",
        [spec("x", TensorProto.FLOAT, [1, 1, 1, 4])],
        [spec("y", TensorProto.FLOAT, [1, 1, 1, 4])],
        [helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1], [1.0])],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8, producer_name="")
    assert onnx.load_model_from_string(PROBE) == model
    assert measure_precision(ort.InferenceSession) == "fp32"


def opened(preference: str, precision: str, options: Mapping[str, str] | None = None) -> str:
    """Open a graph, and return the precision in which it is computed."""
    policy = ProviderPolicy(
        [preference], False, {preference: options or {}}, cores=2, precision=precision
    )
    return open_session(tiny_graph().SerializeToString(), policy, 1).compute_precision


def test_a_precision_that_is_not_really_used_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, OPENVINO_WHEEL)  # it computes in FP32, whatever the hint
    assert opened("openvino", "fp32") == opened("openvino", "auto") == "fp32"
    with pytest.raises(BundleRejectedError) as caught:
        opened("openvino", "bf16")
    assert caught.value.message == (
        "openvino computes in fp32 here, although it was told to use bf16: this processor doesn't "
        "support bf16; choose --precision auto, or another machine"
    )


@pytest.mark.parametrize(
    ("wheel", "provider"), [(CPU_WHEEL, "cpu"), (GPU_WHEEL, "cuda"), (GPU_WHEEL, "tensorrt")]
)
def test_other_providers_compute_in_the_precision_of_the_graph(
    monkeypatch: pytest.MonkeyPatch, wheel: list[str], provider: str
) -> None:
    pretend(monkeypatch, wheel)
    with pytest.raises(BundleRejectedError, match=f"{provider} computes in the precision of the"):
        opened(provider, "bf16")


def test_the_precision_of_a_gpu_is_named_after_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, GPU_WHEEL)
    assert opened("cuda", "auto") == "tf32"
    assert opened("cuda", "auto", {"use_tf32": "0"}) == opened("cuda", "fp32") == "fp32"
    assert opened("tensorrt", "auto", {"trt_fp16_enable": "True"}) == "fp16"
    with pytest.raises(BundleRejectedError, match="tensorrt computes FP32 in TF32, and has no"):
        opened("tensorrt", "fp32")


def test_a_device_that_chooses_its_precision_may_choose_any() -> None:
    def required(device: str) -> str | None:
        options = {"openvino": {"device_type": device}}
        return ProviderPolicy(["openvino"], False, options).required_precision

    assert (required("CPU"), required("GPU.1")) == ("fp32", "fp32")
    assert (required("NPU"), required("AUTO:GPU,CPU")) == (None, None)


def test_options_of_openvino_are_added_to_those_that_are_set() -> None:
    own = {"load_config": json.dumps({"CPU": {"ENABLE_CPU_PINNING": "YES", "CACHE_MODE": "x"}})}
    found = openvino_options({**own, "num_streams": "1"}, "bf16", cores=4, threads=2)
    assert (found["num_of_threads"], found["num_streams"]) == ("4", "1")
    assert json.loads(found["load_config"])["CPU"] == {
        "ENABLE_CPU_PINNING": "YES",
        "CACHE_MODE": "x",
        "INFERENCE_PRECISION_HINT": "bf16",
    }
    on_gpu = openvino_options({"device_type": "GPU.1"}, "auto", cores=4, threads=2)
    assert on_gpu.keys() == {"device_type", "load_config"}
    # A GPU would compute in FP16 otherwise.
    assert json.loads(on_gpu["load_config"]) == {"GPU": {"INFERENCE_PRECISION_HINT": "f32"}}


@pytest.mark.parametrize(
    ("options", "precision", "problem"),
    [
        ({"load_config": "{"}, "auto", "load_config of .providers.openvino. must be JSON"),
        ({"load_config": '{"CPU": 1}'}, "auto", "load_config of .providers.openvino. must be JSON"),
        ({"precision": "FP32"}, "bf16", "has a precision of its own; remove one of them"),
        ({"device_type": "NPU"}, "fp32", "needs OpenVINO's device CPU or GPU, and device_type"),
    ],
)
def test_options_that_are_wrong_or_contradict_are_rejected(
    options: dict[str, str], precision: str, problem: str
) -> None:
    with pytest.raises(BundleRejectedError, match=problem):
        openvino_options(options, precision, cores=1, threads=1)
