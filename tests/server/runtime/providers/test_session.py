"""The execution provider is the requested one, or the bundle is rejected."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from support.alterations import slow_down
from support.calls import connected, sample
from support.loading import load
from support.server import ServerProcess
from support.tiny import SIDE, tiny_graph
from support.wheels import (
    CPU,
    CPU_WHEEL,
    CUDA,
    GPU_WHEEL,
    OPENVINO,
    OPENVINO_WHEEL,
    TENSORRT,
    pretend,
)

from convscope.server.errors import BundleRejectedError
from convscope.server.repository.catalog import Target
from convscope.server.runtime.providers import ProviderPolicy
from convscope.server.runtime.providers.cuda import read_driver
from convscope.server.runtime.providers.session import Session, open_session, run_bound
from convscope.v1 import inference_pb2 as pb

GPU = pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="CUDA is available here"
)
NO_DRIVER = pytest.mark.skipif(read_driver() is not None, reason="this machine has a driver")


def opened(*preference: str, allow_fallback: bool = False, threads: int = 1) -> Session:
    policy = ProviderPolicy(preference, allow_fallback, cores=4)
    return open_session(tiny_graph().SerializeToString(), policy, threads)


def refusal_of(*preference: str) -> str:
    with pytest.raises(BundleRejectedError) as caught:
        opened(*preference)
    assert caught.value.reason == "provider"
    return caught.value.message


def test_provider_in_use_is_named(root: Path) -> None:
    model = load(root).resolve(Target("good")).model
    assert (model.provider, model.fallback_from) == ("cpu", "")
    assert model.nodes["cpu"] > 0


@GPU
def test_unavailable_provider_rejects_the_bundle(root: Path) -> None:
    (rejection,) = load(root, providers=("cuda", "cpu")).rejections
    assert rejection.reason == "provider"
    assert "'cuda' is not available here" in rejection.message
    assert "pip install '.[server-gpu]'" in rejection.message
    assert "or add --allow-fallback" in rejection.message


@GPU
@pytest.mark.parametrize("providers", [("cuda",), ("cuda", "cpu"), ("tensorrt", "cuda", "cpu")])
def test_fallback_is_used_if_allowed_and_reported(root: Path, providers: tuple[str, ...]) -> None:
    model = load(root, providers=providers, allow_fallback=True).resolve(Target("good")).model
    assert (model.provider, model.fallback_from) == ("cpu", providers[0])


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "CPUExecutionProvider"])
@pytest.mark.parametrize("allow_fallback", [False, True])
def test_unknown_provider_lists_the_known_ones(root: Path, name: str, allow_fallback: bool) -> None:
    (rejection,) = load(root, providers=(name,), allow_fallback=allow_fallback).rejections
    assert rejection.reason == "provider"
    assert rejection.message.startswith(f"no execution provider {name!r}; ")
    assert rejection.message.endswith(" the names are: cpu, cuda, tensorrt, openvino")


# Which providers a session is opened with, on recorded lists


@pytest.mark.parametrize(
    ("wheel", "preference", "allow_fallback", "candidates"),
    [
        (CPU_WHEEL, ["cpu"], False, ["cpu"]),
        (CPU_WHEEL, ["cuda", "cpu"], True, ["cpu"]),
        (CPU_WHEEL, ["cuda"], True, ["cpu"]),
        (GPU_WHEEL, ["cuda"], False, ["cuda"]),
        (GPU_WHEEL, ["cuda", "cpu"], False, ["cuda"]),
        (GPU_WHEEL, ["cuda"], True, ["cuda", "cpu"]),
        (GPU_WHEEL, ["tensorrt", "cuda"], False, ["tensorrt", "cuda"]),
        (GPU_WHEEL, ["tensorrt", "cuda", "cuda", "cpu"], True, ["tensorrt", "cuda", "cpu"]),
        (GPU_WHEEL, ["openvino", "cuda"], True, ["cuda", "cpu"]),
        (GPU_WHEEL, ["cpu", "cuda"], False, ["cpu", "cuda"]),
        (GPU_WHEEL, ["cpu", "cuda"], True, ["cpu"]),
        (OPENVINO_WHEEL, ["openvino"], False, ["openvino"]),
        (OPENVINO_WHEEL, ["openvino", "cpu"], False, ["openvino"]),
        (OPENVINO_WHEEL, ["openvino", "cpu"], True, ["openvino", "cpu"]),
    ],
)
def test_candidates(
    wheel: list[str], preference: list[str], allow_fallback: bool, candidates: list[str]
) -> None:
    assert ProviderPolicy(preference, allow_fallback).candidates(wheel) == candidates


@pytest.mark.parametrize(
    ("wheel", "preference", "missing", "repair"),
    [
        (CPU_WHEEL, ["openvino", "cpu"], "openvino", "pip install '.[server-openvino]'"),
        (GPU_WHEEL, ["cuda", "openvino"], "openvino", "pip install '.[server-openvino]'"),
        (OPENVINO_WHEEL, ["tensorrt", "openvino"], "tensorrt", "pip install '.[server-gpu]'"),
    ],
)
def test_strictly_every_provider_of_the_preference_must_be_there(
    wheel: list[str], preference: list[str], missing: str, repair: str
) -> None:
    with pytest.raises(BundleRejectedError, match="is not available here, only: ") as caught:
        ProviderPolicy(preference, False).candidates(wheel)
    assert f"{missing!r}" in caught.value.message
    assert repair in caught.value.message
    assert "AzureExecutionProvider" not in caught.value.message


def test_a_provider_that_is_deferred_is_left_out() -> None:
    policy = ProviderPolicy(["tensorrt", "cuda"], False).without("tensorrt")
    assert policy.candidates(GPU_WHEEL) == ["cuda"]


# What the runtime then makes of it, as recorded


def test_all_nodes_on_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, GPU_WHEEL)
    session = opened("cuda", "cpu")
    assert (session.provider, session.fallback_from, session.on_gpu) == ("cuda", "", True)


@NO_DRIVER
def test_gpu_wheel_without_a_driver_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, GPU_WHEEL, starts=[CPU])
    message = refusal_of("cuda", "cpu")
    assert "has the execution provider 'cuda', but it doesn't start" in message
    assert "this machine has no NVIDIA driver (libcuda.so.1 is missing)" in message


@NO_DRIVER
def test_gpu_wheel_without_tensorrt_is_rejected_without_paths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, GPU_WHEEL, starts=[CUDA, CPU])
    message = refusal_of("tensorrt", "cuda")
    assert message.startswith("tensorrt doesn't start; this machine has no NVIDIA driver")
    assert "/onnxruntime" not in message


def test_gpu_wheel_without_libraries_falls_back_if_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, GPU_WHEEL, starts=[CUDA, CPU])
    session = opened("tensorrt", "cuda", allow_fallback=True)
    assert (session.provider, session.fallback_from) == ("cuda", "tensorrt")
    pretend(monkeypatch, GPU_WHEEL, starts=[CPU])
    session = opened("tensorrt", "cuda", allow_fallback=True)
    assert (session.provider, session.fallback_from, session.on_gpu) == ("cpu", "tensorrt", False)


@pytest.mark.parametrize(("name", "wheel"), [("cuda", GPU_WHEEL), ("openvino", OPENVINO_WHEEL)])
def test_nodes_left_to_the_cpu_are_rejected_or_reported(
    monkeypatch: pytest.MonkeyPatch, name: str, wheel: list[str]
) -> None:
    pretend(monkeypatch, wheel, left_to_cpu=["Mish", "Unique"])
    assert f"{name} leaves 2 of 4 nodes to the CPU (Mish, Unique)" in refusal_of(name, "cpu")
    session = opened(name, allow_fallback=True)
    assert (session.provider, session.fallback_from) == (f"{name}+cpu", name)
    assert session.nodes == {name: 2, "cpu": 2}


def test_a_graph_that_no_provider_can_run_is_rejected_even_with_the_fallback() -> None:
    policy = ProviderPolicy(["cpu"], True)
    with pytest.raises(BundleRejectedError, match="cpu can't run the graph"):
        open_session(b"no graph", policy, 1)


@pytest.mark.parametrize(
    ("threads", "streams", "total"), [(1, "4", "4"), (2, "2", "4"), (4, "1", "4"), (8, "1", "8")]
)
def test_openvino_gets_a_stream_for_each_run_that_the_cores_have_room_for(
    monkeypatch: pytest.MonkeyPatch, threads: int, streams: str, total: str
) -> None:
    pretend(monkeypatch, OPENVINO_WHEEL)
    options = opened("openvino", threads=threads)._session.options[OPENVINO]
    config = options.pop("load_config")
    assert options == {"num_of_threads": total, "num_streams": streams}
    assert json.loads(config) == {
        "CPU": {"ENABLE_CPU_PINNING": "NO", "INFERENCE_PRECISION_HINT": "f32"}
    }


def test_options_reach_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, GPU_WHEEL)
    policy = ProviderPolicy(["tensorrt", "cuda"], False, {"cuda": {"device_id": "1"}})
    policy = policy.with_options("tensorrt", {"trt_fp16_enable": "True"})
    session = open_session(tiny_graph().SerializeToString(), policy, 1)
    options = session._session.options
    assert options == {TENSORRT: {"trt_fp16_enable": "True"}, CUDA: {"device_id": "1"}}


# Binding


@pytest.mark.parametrize("outputs", [["probabilities"], ["conv", "logits"], None])
def test_bound_runs_answer_as_plain_ones(outputs: Sequence[str] | None) -> None:
    session = ort.InferenceSession(tiny_graph().SerializeToString(), providers=[CPU])
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    feeds = {"images": images[::-1]}  # not contiguous
    bound, plain = run_bound(session, outputs, feeds), session.run(outputs, feeds)
    assert len(bound) == len(plain)
    for ours, theirs in zip(bound, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# Reports


@GPU
def test_fallback_shows_in_metrics_log_and_listing(tiny_repository: Path) -> None:
    flags = ("--provider", "cuda,cpu", "--allow-fallback")
    with ServerProcess(tiny_repository, *flags) as server, connected(server) as stub:
        labels = {"version": "1", "wanted": "cuda", "provider": "cpu"}
        assert sample(server, "convscope_provider_fallback", model="tiny", **labels) == 1
        assert sample(server, "convscope_model_info", model="tiny", provider="cpu") == 1
        listed = stub.ListModels(pb.ListModelsRequest(), timeout=30).models
        assert {one.fallback_from for one in listed} == {"cuda"}
        events = [event for event in server.log if event["event"] == "provider fallback"]
    assert {event["model"] for event in events} == {"tiny", "signal"}
    assert all((event["wanted"], event["provider"]) == ("cuda", "cpu") for event in events)


def test_no_fallback_says_nothing(tiny_server: ServerProcess) -> None:
    assert "convscope_provider_fallback{" not in tiny_server.metrics()


def test_run_of_a_graph_whose_loop_does_not_end_is_terminated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("convscope.server.runtime.providers.session.MAX_LOOP_SECONDS", 0.2)
    graph = tiny_graph()
    slow_down(2**62, always=True)(graph)
    session = open_session(
        graph.SerializeToString(), ProviderPolicy(("cpu",), allow_fallback=False), 1
    )
    with pytest.raises(Exception, match="terminate flag"):
        session.run(None, np.zeros((1, SIDE, SIDE, 3), np.uint8))
