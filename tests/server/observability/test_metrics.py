"""What Prometheus scrapes from a real server."""

import asyncio
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families
from support.alterations import flip_byte
from support.calls import connected, image_request, rejection, sample, signal_request, wait_until
from support.loading import load
from support.oip import oip_connected, raw_request
from support.requests import make_request
from support.server import ServerProcess
from support.tiny import SIDE, write_signal, write_tiny

from convscope.open_inference import open_inference_pb2 as oip_pb
from convscope.server.inference.engine import Engine
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.inference.requests import ReadyTensor
from convscope.server.observability.metrics import Metrics
from convscope.server.observability.metrics.codes import go_name
from convscope.server.observability.metrics.versions import MAX_CLASSES
from convscope.server.runtime.model import ModelOutput
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2 as pb

RPC = {"grpc_type", "grpc_service", "grpc_method"}
VERSION = {"model", "version"}
DOCUMENTED = {
    "grpc_server_started_total": RPC,
    "grpc_server_handled_total": RPC | {"grpc_code"},
    "convscope_caller_limited_calls_total": RPC,
    "grpc_server_handling_seconds_bucket": RPC | {"le"},
    "grpc_server_handling_seconds_count": RPC,
    "grpc_server_handling_seconds_sum": RPC,
    "convscope_stage_seconds_bucket": VERSION | {"stage", "le"},
    "convscope_stage_seconds_count": VERSION | {"stage"},
    "convscope_batch_images_bucket": VERSION | {"le"},
    "convscope_queue_images": VERSION,
    "convscope_queue_fill_ratio": VERSION,
    "convscope_request_seconds_bucket": VERSION | {"priority", "le"},
    "convscope_request_seconds_count": VERSION | {"priority"},
    "convscope_requests_total": VERSION | {"code"},
    "convscope_model_info": VERSION | {"provider", "precision", "compute_precision"},
    "convscope_model_load_failures_total": {"reason"},
    "convscope_predicted_classes_total": VERSION | {"class"},
    "convscope_top1_probability_bucket": VERSION | {"le"},
    "convscope_prediction_entropy_ratio_bucket": VERSION | {"le"},
    "convscope_log_lines_dropped_total": set(),
    "convscope_request_memory_bytes": set(),
    "convscope_request_memory_rejections_total": set(),
    "convscope_rejected_calls_total": {"reason"},
    "convscope_denied_calls_total": {"reason"},
    "convscope_reload_failed": {"file"},
    "convscope_workers": set(),
    "process_resident_memory_bytes": set(),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root = tmp_path_factory.mktemp("metrics")
    write_tiny(root)
    write_signal(root)
    flip_byte(write_tiny(root, "broken") / "model.onnx", 9)
    with ServerProcess(root) as server:
        with connected(server) as stub:
            stub.Classify(image_request(), timeout=30)
            stub.Classify(signal_request(20), timeout=30)
            rejection(stub.Classify, image_request(b"text"))
            rejection(stub.Classify, image_request(model="intruder"))
            rejection(stub.Classify, image_request(model="x" * 1000))
            rejection(stub.Classify, image_request(version=77))
            rejection(stub.Classify, image_request(alias="stranger"))
            stub.ListModels(pb.ListModelsRequest(), timeout=30)
        wait_until(lambda: sample(server, "grpc_server_handled_total") >= 8)
        yield server


def labels(server: ServerProcess, name: str) -> list[dict[str, str]]:
    families = text_string_to_metric_families(server.metrics())
    return [s.labels for family in families for s in family.samples if s.name == name]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_metric_has_its_labels(server: ServerProcess, name: str) -> None:
    found = labels(server, name)
    assert found
    assert {frozenset(one) for one in found} == {frozenset(DOCUMENTED[name])}


@pytest.mark.skipif(os.environ.get("CONVSCOPE_TRANSPORT") == "grpc-aio", reason="only http2 counts")
def test_calls_that_no_method_counts_have_a_reason(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.target) as channel:
        unknown: Any = channel.unary_unary("/convscope.v1.ClassifierService/Unknown")
        assert rejection(unknown, b"")[0] is grpc.StatusCode.UNIMPLEMENTED
    assert sample(server, "convscope_rejected_calls_total", reason="unimplemented") == 1
    assert sample(server, "convscope_rejected_calls_total") == 1


def test_names_are_prefixed(server: ServerProcess) -> None:
    families = text_string_to_metric_families(server.metrics())
    prefixes = {family.name.split("_")[0] for family in families}
    assert prefixes <= {"grpc", "convscope", "process", "python"}


@pytest.mark.parametrize(
    ("method", "code", "count"),
    [
        ("Classify", "OK", 2),
        ("Classify", "InvalidArgument", 1),
        ("Classify", "NotFound", 4),
        ("Classify", "Internal", 0),
        ("ListModels", "OK", 1),
    ],
)
def test_calls_are_counted_by_method_and_code(
    server: ServerProcess, method: str, code: str, count: int
) -> None:
    name = "grpc_server_handled_total"
    assert sample(server, name, grpc_method=method, grpc_code=code) == count


def test_calls_are_timed_and_counted_at_start_and_end(server: ServerProcess) -> None:
    classify = {
        "grpc_type": "unary",
        "grpc_service": "convscope.v1.ClassifierService",
        "grpc_method": "Classify",
    }
    assert sample(server, "grpc_server_started_total", **classify) == 7
    assert sample(server, "grpc_server_handling_seconds_count", **classify) == 7


def test_requests_are_counted_by_model_and_code(server: ServerProcess) -> None:
    name = "convscope_requests_total"
    assert sample(server, name, model="tiny", version="1", code="OK") == 1
    assert sample(server, name, model="tiny", version="1", code="INVALID_ARGUMENT") == 1
    assert sample(server, name, model="signal", version="1", code="OK") == 1


def test_answered_requests_are_timed_by_model(server: ServerProcess) -> None:
    name = "convscope_request_seconds_count"
    assert sample(server, name, model="tiny", version="1") == 1  # and not the rejected image
    assert sample(server, name, model="signal", version="1") == 1
    assert sample(server, name, priority="bulk") == 0


def test_bulk_requests_are_timed_separately(tiny_repository: Path) -> None:
    name = "convscope_request_seconds_count"
    with ServerProcess(tiny_repository) as server:
        with connected(server) as stub:
            stub.Classify(image_request(priority=pb.PRIORITY_BULK), timeout=30)
            for priority in (pb.PRIORITY_INTERACTIVE, pb.PRIORITY_UNSPECIFIED):
                stub.Classify(image_request(priority=priority), timeout=30)
        with oip_connected(server) as oip:
            oip.ModelInfer(raw_request(parameters={"priority": 2}), timeout=30)
            statistics = oip.ModelStatistics(oip_pb.ModelStatisticsRequest(name="tiny"), timeout=30)
        assert sample(server, name, priority="bulk") == 2
        assert sample(server, name, priority="interactive") == 2
    assert statistics.model_stats[0].inference_stats.success.count == 4  # of both kinds


@pytest.fixture
def version(tmp_path: Path) -> LoadedVersion:
    """A version within this process."""
    write_tiny(tmp_path)
    (version,) = load(tmp_path)
    return version


def test_forgotten_version_leaves_no_series(version: LoadedVersion) -> None:
    metrics = Metrics()
    counted = metrics.of(version.key)
    metrics.shadow(version.key, 2).count("agreed")
    for bulk in (False, True):
        counted.requests([grpc.StatusCode.OK], [0.01], [bulk])
    assert names_of(metrics, "tiny")
    metrics.forget(version.key)
    assert names_of(metrics, "tiny") == set()


def names_of(metrics: Metrics, model: str) -> set[str]:
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    return {sample.name for sample in samples if sample.labels.get("model") == model}


@pytest.mark.parametrize("stage", ["decode", "queue", "infer", "encode"])
def test_stages_are_observed_for_each_input(server: ServerProcess, stage: str) -> None:
    name = "convscope_stage_seconds_count"
    assert sample(server, name, model="tiny", stage=stage) == 1
    assert sample(server, name, model="signal", stage=stage) == 20


def test_stages_are_those_documented(server: ServerProcess) -> None:
    stages = {one["stage"] for one in labels(server, "convscope_stage_seconds_count")}
    assert stages == {"decode", "queue", "infer", "encode"}


def test_batches_are_observed(server: ServerProcess) -> None:
    assert sample(server, "convscope_batch_images_sum", model="signal") == 20
    assert sample(server, "convscope_batch_images_count", model="signal") == 3  # 8, 8 and 4
    assert sample(server, "convscope_queue_images", model="signal") == 0
    assert sample(server, "convscope_queue_fill_ratio", model="signal") == 0


def test_ready_versions_are_described(server: ServerProcess) -> None:
    precisions = {"precision": "fp32", "compute_precision": "fp32"}
    common = {"version": "1", "provider": "cpu", **precisions}
    assert labels(server, "convscope_model_info") == [
        {"model": "signal"} | common,
        {"model": "tiny"} | common,
    ]


def test_rejected_bundles_are_counted_by_reason(server: ServerProcess) -> None:
    assert sample(server, "convscope_model_load_failures_total", reason="hash") == 1
    assert sample(server, "convscope_model_load_failures_total") == 1


@pytest.mark.parametrize("name", ["intruder", "x" * 20, "77", "stranger"])
def test_no_name_from_a_request_becomes_a_label(server: ServerProcess, name: str) -> None:
    families = text_string_to_metric_families(server.metrics())
    values = [v for family in families for s in family.samples for v in s.labels.values()]
    assert [value for value in values if name in value] == []


def test_unknown_names_add_no_time_series(server: ServerProcess) -> None:
    before = len(server.metrics().splitlines())
    with connected(server) as stub:
        for number in range(20):
            rejection(stub.Classify, image_request(model=f"guess{number}"))
    assert len(server.metrics().splitlines()) == before


def test_metrics_page_has_the_prometheus_text_format(tiny_repository: Path) -> None:
    with ServerProcess(tiny_repository) as server:
        text = server.metrics()
    assert "# TYPE convscope_model_info gauge" in text
    assert "# TYPE grpc_server_handling_seconds histogram" in text


async def test_fill_ratio_is_that_of_the_fullest_queue(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, may_end, run = threading.Event(), threading.Event(), version.model.run

    def held_run(inputs: NDArray[np.generic], **options: Any) -> ModelOutput:
        running.set()
        may_end.wait(30)
        return run(inputs, **options)

    monkeypatch.setattr(version.model, "run", held_run)
    metrics, item = Metrics(), ReadyTensor(np.zeros((SIDE, SIDE, 3), np.uint8))
    engine = Engine(PipelineLimits(4, 0.0, 1), metrics.of)
    engine.add(version)
    calls = [asyncio.create_task(engine.run(version, make_request(item)))]
    assert await asyncio.to_thread(running.wait, 30)
    for bulk in (False, False, False, True, True):
        calls.append(asyncio.create_task(engine.run(version, make_request(item, bulk=bulk))))
    await asyncio.sleep(0)  # each of them is queued in its first step
    value = partial(metrics.registry.get_sample_value, labels={"model": "tiny", "version": "1"})
    assert value("convscope_queue_images") == 5
    assert value("convscope_queue_fill_ratio") == 3 / 4
    may_end.set()
    await asyncio.gather(*calls)
    assert value("convscope_queue_fill_ratio") == 0
    await engine.close()


def test_predictions_are_counted_by_class(server: ServerProcess) -> None:
    name = "convscope_predicted_classes_total"
    assert {one["class"] for one in labels(server, name) if one["model"] == "signal"} <= {
        "noise",
        "tone",
    }
    assert sample(server, name, model="signal") == 20
    assert sample(server, "convscope_top1_probability_count", model="signal") == 20
    # Of two classes, the best has at least half.
    assert sample(server, "convscope_top1_probability_bucket", model="signal", le="0.45") == 0
    assert sample(server, "convscope_prediction_entropy_ratio_count", model="signal") == 20


def test_classes_beyond_a_bound_share_one_series() -> None:
    metrics = Metrics()
    version = metrics.of(("m", 1))
    names = [f"class {number}" for number in range(1000)]
    for _ in range(2):
        version.predictions(names, [0.5] * 1000, [])
    counts = class_counts(metrics)
    assert len(counts) == MAX_CLASSES + 1
    assert sum(counts.values()) == 2000
    assert counts["other"] == 2 * (1000 - MAX_CLASSES)
    metrics.forget(("m", 1))
    assert class_counts(metrics) == {}


def class_counts(metrics: Metrics) -> dict[str, float]:
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    name = "convscope_predicted_classes_total"
    return {one.labels["class"]: one.value for one in samples if one.name == name}


@pytest.mark.parametrize("code", grpc.StatusCode, ids=lambda code: code.name)
def test_every_code_is_counted(code: grpc.StatusCode) -> None:
    metrics = Metrics()
    metrics.method("unary", "s", "m").end([code], [0.1])
    metrics.of(("m", 1)).requests([code], [0.1], [False])
    rpc = {"grpc_type": "unary", "grpc_service": "s", "grpc_method": "m"}
    value = metrics.registry.get_sample_value
    assert value("grpc_server_handled_total", rpc | {"grpc_code": go_name(code)}) == 1
    labels = {"model": "m", "version": "1", "code": code.name}
    assert value("convscope_requests_total", labels) == 1


def test_failures_begin_at_zero_so_that_the_first_is_an_increase() -> None:
    metrics = Metrics()
    metrics.method("unary", "s", "m")
    metrics.of(("m", 1))
    value = metrics.registry.get_sample_value
    rpc = {"grpc_type": "unary", "grpc_service": "s", "grpc_method": "m"}
    assert value("grpc_server_handled_total", rpc | {"grpc_code": "Internal"}) == 0
    labels = {"model": "m", "version": "1", "code": "INTERNAL"}
    assert value("convscope_requests_total", labels) == 0
    assert value("convscope_model_load_failures_total", {"reason": "hash"}) == 0


def test_version_that_is_loaded_again_shows_only_its_new_provider() -> None:
    metrics, key = Metrics(), ("m", 1)
    metrics.ready(key, provider="cpu", precision="fp32", fallback_from="cuda")
    assert names_of(metrics, "m") == {
        "convscope_model_info",
        "convscope_provider_awaited",
        "convscope_provider_fallback",
    }
    speeds = {("cuda", "tf32"): 9.0, ("cpu", "fp32"): 1.0}
    metrics.ready(key, provider="cuda", precision="fp32", relative_speeds=speeds)
    assert names_of(metrics, "m") == {"convscope_model_info", "convscope_provider_relative_speed"}
    metrics.ready(key, provider="cuda", precision="fp32")
    assert names_of(metrics, "m") == {"convscope_model_info"}
    metrics.gone(key)
    metrics.forget(key)
    assert names_of(metrics, "m") == set()


def test_traffic_shares_that_end_are_no_longer_shown() -> None:
    metrics = Metrics()
    metrics.traffic_shares([("m", 1, "canary", 0.1), ("n", 1, "shadow", 0.5)])
    metrics.traffic_shares([("m", 1, "canary", 0.2)])
    (family,) = [f for f in metrics.registry.collect() if f.name == "convscope_traffic_share"]
    assert [(one.labels["model"], one.value) for one in family.samples] == [("m", 0.2)]
