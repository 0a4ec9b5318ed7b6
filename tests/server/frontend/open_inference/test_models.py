"""How the Open Inference Protocol describes the server and its models."""

import json
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.alterations import flip_byte
from support.calls import TIMEOUT_SECONDS, health, rejection, sample, wait_until
from support.oip import Stub, oip_connected, pixels, raw_request
from support.server import ServerProcess, serving
from support.tiny import CHANNELS, SIDE, SIGNAL_LENGTH, write_tiny

from convscope.open_inference import open_inference_pb2 as pb

NOT_FOUND, UNIMPLEMENTED = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED
SERVICE = "inference.GRPCInferenceService"


def tensors(
    described: list[pb.ModelMetadataResponse.TensorMetadata],
) -> list[tuple[str, str, list[int]]]:
    return [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in described]


def index(oip: Stub, *, ready: bool = False) -> dict[tuple[str, str], tuple[str, str]]:
    request = pb.RepositoryIndexRequest(ready=ready)
    reply = oip.RepositoryIndex(request, timeout=TIMEOUT_SECONDS)
    return {(m.name, m.version): (m.state, m.reason) for m in reply.models}


def is_ready(oip: Stub, name: str, version: str = "") -> bool:
    request = pb.ModelReadyRequest(name=name, version=version)
    reply: pb.ModelReadyResponse = oip.ModelReady(request, timeout=TIMEOUT_SECONDS)
    return reply.ready


# Server


def test_server_is_live_and_ready(oip: Stub, tiny_server: ServerProcess) -> None:
    assert oip.ServerLive(pb.ServerLiveRequest(), timeout=TIMEOUT_SECONDS).live
    assert oip.ServerReady(pb.ServerReadyRequest(), timeout=TIMEOUT_SECONDS).ready
    assert health(tiny_server, SERVICE) == "SERVING"


def test_server_is_not_ready_when_overall_health_is_not(root: Path) -> None:
    flip_byte(write_tiny(root, "bad") / "model.onnx", 100)
    with serving(root) as server, oip_connected(server) as oip:
        assert health(server) == health(server, SERVICE) == "NOT_SERVING"
        assert not oip.ServerReady(pb.ServerReadyRequest(), timeout=TIMEOUT_SECONDS).ready
        assert oip.ServerLive(pb.ServerLiveRequest(), timeout=TIMEOUT_SECONDS).live
        assert is_ready(oip, "good")
        assert not is_ready(oip, "bad")
        state, reason = index(oip)["bad", "1"]
        assert (state, "hash" in reason) == ("UNAVAILABLE", True)
        assert ("bad", "1") not in index(oip, ready=True)
        code, _ = rejection(oip.ModelInfer, raw_request(model="bad"))
        assert code is grpc.StatusCode.UNAVAILABLE


def test_only_what_there_is_is_advertised(oip: Stub) -> None:
    reply = oip.ServerMetadata(pb.ServerMetadataRequest(), timeout=TIMEOUT_SECONDS)
    assert (reply.name, bool(reply.version)) == ("convscope", True)
    assert sorted(reply.extensions) == [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "parameters",
        "schedule_policy",
        "statistics",
    ]


@pytest.mark.parametrize(
    ("method", "repair"),
    [
        ("RepositoryModelLoad", "AdminService"),
        ("RepositoryModelUnload", "AdminService"),
        ("SystemSharedMemoryStatus", "in the messages"),
        ("SystemSharedMemoryRegister", "in the messages"),
        ("SystemSharedMemoryUnregister", "in the messages"),
        ("CudaSharedMemoryStatus", "in the messages"),
        ("CudaSharedMemoryRegister", "in the messages"),
        ("CudaSharedMemoryUnregister", "in the messages"),
        ("TraceSetting", "--otlp-endpoint"),
        ("LogSettings", "flags"),
    ],
)
def test_what_there_is_not_says_so_itself(
    tiny_server: ServerProcess, method: str, repair: str
) -> None:
    with grpc.insecure_channel(tiny_server.target) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/{SERVICE}/{method}"
        )
        code, message = rejection(call, b"")
    assert code is UNIMPLEMENTED
    assert message.startswith(f"this server has no {method}: ")
    assert repair in message


def test_the_door_can_be_shut(tiny_repository: Path) -> None:
    with (
        serving(tiny_repository, "--no-open-inference") as server,
        oip_connected(server) as oip,
    ):
        code, _ = rejection(oip.ServerLive, pb.ServerLiveRequest())
        assert health(server) == "SERVING"
    assert code is UNIMPLEMENTED


# Models


def test_metadata_describes_images_and_classes(oip: Stub) -> None:
    reply = oip.ModelMetadata(pb.ModelMetadataRequest(name="tiny"), timeout=TIMEOUT_SECONDS)
    assert (reply.name, list(reply.versions), reply.platform) == ("tiny", ["1"], "onnx_onnxv1")
    assert tensors(reply.inputs) == [("images", "UINT8", [-1, SIDE, SIDE, 3])]
    assert tensors(reply.outputs) == [
        ("logits", "FP32", [-1, 3]),
        ("probabilities", "FP32", [-1, 3]),
    ]


def test_metadata_of_the_second_name_describes_feature_maps(oip: Stub) -> None:
    request = pb.ModelMetadataRequest(name="tiny.features", version="1")
    reply = oip.ModelMetadata(request, timeout=TIMEOUT_SECONDS)
    assert reply.name == "tiny.features"
    assert tensors(reply.outputs) == [("conv", "FP32", [-1, CHANNELS, SIDE, SIDE])]


def test_metadata_describes_tensors(oip: Stub) -> None:
    reply = oip.ModelMetadata(pb.ModelMetadataRequest(name="signal"), timeout=TIMEOUT_SECONDS)
    assert tensors(reply.inputs) == [("signal", "FP32", [-1, 1, SIGNAL_LENGTH])]


def test_config_has_the_same_tensors_without_the_batch(oip: Stub) -> None:
    request = pb.ModelConfigRequest(name="tiny")
    config = oip.ModelConfig(request, timeout=TIMEOUT_SECONDS).config
    assert (config.name, config.max_batch_size) == ("tiny", 64)
    assert [(i.name, list(i.dims)) for i in config.input] == [("images", [SIDE, SIDE, 3])]
    assert config.input[0].data_type == pb.TYPE_UINT8
    assert config.input[0].format == pb.ModelInput.FORMAT_NHWC
    assert [(o.name, list(o.dims)) for o in config.output] == [
        ("logits", [3]),
        ("probabilities", [3]),
    ]
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert (config.instance_group[0].count, config.instance_group[0].kind) == (
        1,
        pb.ModelInstanceGroup.KIND_CPU,
    )


@pytest.mark.parametrize(
    "method", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"]
)
@pytest.mark.parametrize("name", ["cat", "cat.features"])
def test_unknown_models_are_not_found(oip: Stub, method: str, name: str) -> None:
    request = getattr(pb, f"{method}Request")(name=name)
    code, message = rejection(getattr(oip, method), request)
    assert (code, "no model 'cat'" in message) == (NOT_FOUND, True)


def test_readiness_by_version_and_by_name(oip: Stub) -> None:
    assert is_ready(oip, "tiny")
    assert is_ready(oip, "tiny", "1")
    assert is_ready(oip, "tiny.features")
    assert rejection(oip.ModelReady, pb.ModelReadyRequest(name="tiny", version="2"))[0] is NOT_FOUND
    assert rejection(oip.ModelReady, pb.ModelReadyRequest(name="signal.features"))[0] is NOT_FOUND


def test_index_lists_what_serves(oip: Stub) -> None:
    names = [("signal", "1"), ("tiny", "1"), ("tiny.features", "1")]
    assert index(oip) == dict.fromkeys(names, ("READY", ""))
    code, message = rejection(oip.RepositoryIndex, pb.RepositoryIndexRequest(repository_name="r"))
    assert (code, "one repository" in message) == (UNIMPLEMENTED, True)


def test_versions_and_aliases_are_distinguished(tmp_path: Path) -> None:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    (tmp_path / "tiny" / "aliases.json").write_text(json.dumps({"champion": 1}))
    with serving(tmp_path, "--versions", "2") as server, oip_connected(server) as oip:
        metadata = oip.ModelMetadata(pb.ModelMetadataRequest(name="tiny"), timeout=TIMEOUT_SECONDS)
        assert list(metadata.versions) == ["1", "2"]
        for requested, served in (("", "2"), ("1", "1"), ("2", "2"), ("champion", "1")):
            request = raw_request(model_version=requested)
            reply = oip.ModelInfer(request, timeout=TIMEOUT_SECONDS)
            assert reply.model_version == served
        assert is_ready(oip, "tiny", "champion")


def test_an_unloaded_model_is_ready_and_loads_on_demand(
    tiny_repository: Path,
) -> None:
    with serving(tiny_repository, "--load", "on-demand") as server, oip_connected(server) as oip:
        assert is_ready(oip, "tiny")
        state, reason = index(oip)["tiny", "1"]
        assert (state, "on the first request" in reason) == ("READY", True)
        request = pb.ModelStatisticsRequest(name="tiny", version="1")
        (statistics,) = oip.ModelStatistics(request, timeout=TIMEOUT_SECONDS).model_stats
        assert (statistics.version, statistics.inference_count) == ("1", 0)
        assert sample(server, "convscope_model_info") == 0
        assert oip.ModelInfer(raw_request(), timeout=TIMEOUT_SECONDS).outputs
        assert index(oip)["tiny", "1"] == ("READY", "")


# Statistics


def test_statistics_tell_what_was_done(tmp_path: Path) -> None:
    write_tiny(tmp_path)

    def read(**named: str) -> list[pb.ModelStatistics]:
        request = pb.ModelStatisticsRequest(**named)
        return list(oip.ModelStatistics(request, timeout=TIMEOUT_SECONDS).model_stats)

    with serving(tmp_path) as server, oip_connected(server) as oip:
        (fresh,) = read()
        assert (fresh.name, fresh.version, fresh.last_inference) == ("tiny", "1", 0)
        for count in (1, 5):
            oip.ModelInfer(raw_request(pixels(count)), timeout=TIMEOUT_SECONDS)
        rejection(oip.ModelInfer, raw_request(outputs=["cats"]))
        (found,) = read(name="tiny")
        spent = found.inference_stats
        assert (found.inference_count, found.execution_count) == (6, 2)
        assert (spent.success.count, spent.fail.count) == (2, 1)
        assert spent.queue.count == spent.compute_infer.count == spent.compute_output.count == 6
        assert spent.success.ns > spent.compute_infer.ns / 5 > 0
        assert found.last_inference > 1_700_000_000_000
        (features,) = read(name="tiny.features", version="1")
        assert (features.name, features.inference_count) == ("tiny.features", 6)


def test_statistics_agree_with_the_metrics(oip: Stub, tiny_server: ServerProcess) -> None:
    oip.ModelInfer(raw_request(pixels(2)), timeout=TIMEOUT_SECONDS)
    request = pb.ModelStatisticsRequest(name="tiny", version="1")

    def agree() -> bool:
        (found,) = oip.ModelStatistics(request, timeout=TIMEOUT_SECONDS).model_stats
        labels = {"model": "tiny", "stage": "infer"}
        count = sample(tiny_server, "convscope_stage_seconds_count", **labels)
        seconds = sample(tiny_server, "convscope_stage_seconds_sum", **labels)
        infer = found.inference_stats.compute_infer
        return infer.count == count and bool(np.isclose(infer.ns / 1e9, seconds))

    wait_until(agree)  # a test beside this one may be asking the same server
