"""TensorRT's engines: named after what they fit, built while CUDA serves, found again.

Neither TensorRT nor a GPU is here: the sessions pretend to run on them, and the
answers of the machine are recorded.
"""

import asyncio
import fcntl
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
from grpc_health.v1 import health
from support.calls import wait_until
from support.loading import make_loader
from support.tiny import tiny_graph
from support.wheels import CPU, CUDA, GPU_WHEEL, TENSORRT, Pretended, pretend

from convscope.server.frontend.lifecycle import ServingLifecycle
from convscope.server.inference.engine import Engine
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.selection import Selection
from convscope.server.runtime.providers import ProviderPolicies, ProviderPolicy
from convscope.server.runtime.providers.build_engine import build_engine
from convscope.server.runtime.providers.engines import (
    EngineCache,
    Hardware,
    build_in_subprocess,
    engine_key,
    read_hardware,
)
from convscope.v1 import manifest_pb2 as pb

A100 = Hardware("101303", "NVIDIA A100-SXM4-40GB, 8.0")
INPUT = pb.InputSpec(name="images", shape=[16, 16, 3])
BOTH = ProviderPolicy(["tensorrt", "cuda"], False)


class Builder:
    """Builds an engine when it is allowed to."""

    def __init__(self, succeeds: bool = True) -> None:
        self.may_go_on = threading.Event()
        self.builds: list[Mapping[str, str]] = []
        self._succeeds = succeeds

    def __call__(self, graph: bytes, options: Mapping[str, str]) -> bool:
        self.builds.append(options)
        self.may_go_on.wait(30)
        if self._succeeds:
            Path(options["trt_engine_cache_path"]).mkdir(parents=True)
        return self._succeeds


def cache(root: Path, build: Any = lambda graph, options: False, **changed: Any) -> EngineCache:
    hardware = changed.pop("hardware", lambda device: A100)
    return EngineCache(root, 8, hardware=hardware, build=build, **changed)


@pytest.fixture
def gpu_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, GPU_WHEEL)


# Names


def test_an_engine_is_named_after_all_that_it_fits() -> None:
    graph, runtime, options = b"graph", "1.31.1", {"trt_fp16_enable": "True"}
    keys = {
        engine_key(graph, runtime, A100, options),
        engine_key(b"other", runtime, A100, options),
        engine_key(graph, "1.32.0", A100, options),
        engine_key(graph, runtime, replace(A100, tensorrt="101401"), options),
        engine_key(graph, runtime, replace(A100, gpu="NVIDIA L4, 8.9"), options),
        engine_key(graph, runtime, A100, {}),
    }
    assert len(keys) == 6
    assert engine_key(graph, runtime, A100, dict(options)) in keys


def test_hardware_is_read_from_the_library_and_the_drivers_tool(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Library:
        def getInferLibVersion(self) -> int:  # noqa: N802
            return 101303

    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        '#!/bin/sh\n[ "$*" = "--id=1 --query-gpu=name,compute_cap --format=csv,noheader" ] '
        '&& echo "NVIDIA A100-SXM4-40GB, 8.0"\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr("ctypes.CDLL", lambda name: Library())
    assert read_hardware("1") == A100
    with pytest.raises(OSError, match="doesn't describe GPU 7"):
        read_hardware("7")


@pytest.mark.skipif(TENSORRT in ort.get_available_providers(), reason="TensorRT may be here")
def test_no_hardware_is_an_os_error() -> None:
    with pytest.raises(OSError, match="libnvinfer"):
        read_hardware("0")


# What a version is to run on


def test_without_tensorrt_nothing_changes(tmp_path: Path) -> None:
    cpu = ProviderPolicy(["cpu"], False)
    for policy in (cpu, BOTH):  # the second is rejected later, with its repair
        assert cache(tmp_path).select(policy, b"graph", INPUT) == (policy, None)


def test_cuda_serves_until_the_engine_is_built(tmp_path: Path, gpu_wheel: None) -> None:
    builder = Builder()
    engines = cache(tmp_path / "engines", builder)
    policy, pending = engines.select(BOTH, b"graph", INPUT)
    assert policy.candidates(GPU_WHEEL) == ["cuda"]
    assert pending is not None
    assert not pending.is_built
    assert engines.select(BOTH, b"graph", INPUT)[1] == pending  # requested again, built once
    builder.may_go_on.set()
    wait_until(lambda: pending.is_built)
    policy, nothing = engines.select(BOTH, b"graph", INPUT)
    assert nothing is None
    assert policy.candidates(GPU_WHEEL) == ["tensorrt", "cuda"]
    (options,) = builder.builds
    assert options == policy.options["tensorrt"]
    assert options == {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(pending.directory),
        "trt_profile_min_shapes": "images:1x16x16x3",
        "trt_profile_opt_shapes": "images:4x16x16x3",
        "trt_profile_max_shapes": "images:8x16x16x3",
    }


def test_another_graph_has_another_engine(tmp_path: Path, gpu_wheel: None) -> None:
    engines = cache(tmp_path)
    found = {engines.select(BOTH, graph, INPUT)[1] for graph in (b"one", b"two")}
    assert len(found) == 2


def test_the_options_choose_the_directory_and_the_gpu(tmp_path: Path, gpu_wheel: None) -> None:
    devices = []

    def hardware(device: str) -> Hardware:
        devices.append(device)
        return A100

    options = {"trt_engine_cache_path": str(tmp_path / "mine"), "device_id": "1"}
    policy = BOTH.with_options("tensorrt", options)
    _, pending = cache(tmp_path, hardware=hardware).select(policy, b"graph", INPUT)
    assert pending is not None
    assert pending.directory.parent == tmp_path / "mine"
    assert devices == ["1"]


@pytest.mark.parametrize(
    "preference",
    [["tensorrt"], ["tensorrt", "cpu"], ["cuda", "tensorrt"], ["openvino", "tensorrt"]],
)
def test_where_cuda_is_no_stand_in_nothing_is_deferred(
    tmp_path: Path, gpu_wheel: None, preference: list[str]
) -> None:
    policy, pending = cache(tmp_path).select(ProviderPolicy(preference, False), b"graph", INPUT)
    assert (policy.deferred, pending) == (None, None)
    assert policy.options["tensorrt"]["trt_engine_cache_enable"] == "True"


def test_a_machine_that_can_not_be_described_keeps_no_engine(
    tmp_path: Path, gpu_wheel: None
) -> None:
    def unknown(device: str) -> Hardware:
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    policy, pending = cache(tmp_path, hardware=unknown).select(BOTH, b"graph", INPUT)
    assert pending is None
    assert "trt_engine_cache_path" not in policy.options["tensorrt"]
    assert policy.options["tensorrt"]["trt_profile_max_shapes"] == "images:8x16x16x3"


def test_feature_maps_build_no_engine_within_a_request() -> None:
    assert BOTH.for_graph_without_engine().candidates(GPU_WHEEL) == ["cuda"]
    alone = ProviderPolicy(["tensorrt"], False)
    assert alone.for_graph_without_engine() == alone


# The process that builds


def test_a_build_appears_whole_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, GPU_WHEEL)
    opened = []

    def open_session(graph: bytes, **arguments: Any) -> Pretended:
        session = Pretended(graph, **arguments)
        opened.append(session)
        unfinished = Path(session.options[TENSORRT]["trt_engine_cache_path"])
        (unfinished / "graph.engine").write_bytes(b"engine")
        assert not (tmp_path / "engines" / "key").exists()
        return session

    options = {"trt_engine_cache_path": str(tmp_path / "engines" / "key"), "device_id": "1"}
    graph = tiny_graph().SerializeToString()
    for _ in range(2):
        build_engine(graph, options, open_session)
    (session,) = opened
    assert session.options[TENSORRT]["device_id"] == "1"
    assert [path.name for path in (tmp_path / "engines" / "key").iterdir()] == ["graph.engine"]
    assert sorted(path.name for path in (tmp_path / "engines").iterdir()) == ["key", "key.lock"]


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_started(graph: bytes, **arguments: Any) -> Pretended:
        session = Pretended(graph, **arguments)
        session.running = [CUDA, CPU]
        return session

    options = {"trt_engine_cache_path": str(tmp_path / "key")}
    with pytest.raises(RuntimeError, match="TensorRT doesn't start"):
        build_engine(tiny_graph().SerializeToString(), options, not_started)
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


@pytest.mark.skipif(TENSORRT in ort.get_available_providers(), reason="TensorRT may be here")
def test_the_process_reports_its_failure(tmp_path: Path) -> None:
    options = {"trt_engine_cache_path": str(tmp_path / "key")}
    assert not build_in_subprocess(tiny_graph().SerializeToString(), options)
    assert not (tmp_path / "key").exists()


def test_the_process_is_ended_with_the_server(tmp_path: Path) -> None:
    holder = (tmp_path / "key.lock").open("w")
    with holder:
        fcntl.flock(holder, fcntl.LOCK_EX)  # it waits for this for ever
        options = {"trt_engine_cache_path": str(tmp_path / "key")}
        assert not build_in_subprocess(b"graph", options, stopping=lambda: True)


# In the repository


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_version_moves_to_tensorrt_when_its_engine_is_built(
    root: Path, tmp_path_factory: pytest.TempPathFactory, gpu_wheel: None, succeeds: bool
) -> None:
    builder = Builder(succeeds)
    engines = cache(tmp_path_factory.mktemp("engines"), builder)
    loader = replace(make_loader(), policies=ProviderPolicies(BOTH), engines=engines)
    states = []

    async def follow() -> None:
        metrics = Metrics()
        engine = Engine(PipelineLimits(8, 0.0, 1), metrics.of)
        lifecycle = ServingLifecycle(
            engine,
            metrics,
            health.aio.HealthServicer(),
            (),
            strict=True,
            after_retire=lambda: None,
        )
        manager = ModelManager(root, loader, Selection(latest=1), lifecycle)
        lifecycle.follow(manager.catalog)
        await manager.reconcile()
        states.append(providers(metrics))
        await manager.reconcile()  # nothing happens while it is being built
        states.append(providers(metrics))
        builder.may_go_on.set()
        await asyncio.to_thread(wait_until, lambda: "awaited" not in providers(metrics))
        await manager.reconcile()
        await manager.close()
        states.append(providers(metrics))
        await engine.close()

    asyncio.run(follow())
    waiting = {"info": "cuda", "awaited": "tensorrt"}
    ended = {"info": "tensorrt"} if succeeds else {"info": "cuda", "fallback": "tensorrt"}
    assert states == [waiting, waiting, ended]


def providers(metrics: Metrics) -> dict[str, str]:
    """The providers that the metrics report: in use, awaited and replaced by a fallback."""
    series = [
        sample for family in metrics.registry.collect() for sample in family.samples if sample.value
    ]
    labels = {
        "convscope_model_info": ("info", "provider"),
        "convscope_provider_awaited": ("awaited", "wanted"),
        "convscope_provider_fallback": ("fallback", "wanted"),
    }
    found = [(labels[one.name], one.labels) for one in series if one.name in labels]
    return {name: values[label] for (name, label), values in found}
