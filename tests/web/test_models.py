"""GET /v1/models and what a model is."""

from pathlib import Path

import pytest
from support.calls import wait_until
from support.server import ServerProcess
from support.tiny import LABELS, write_tiny
from support.web_process import WebProcess

from convscope.client import Client
from convscope.web.replies import LabelsReply, ModelReply, ModelsReply

pytestmark = pytest.mark.one_transport("sends HTTP to the web process")


def test_models_are_listed(web: WebProcess) -> None:
    reply = web.get("/v1/models")
    models = ModelsReply.model_validate_json(reply.body).models
    assert [model.name for model in models] == ["bank", "seen", "signal", "tiny"]
    tiny = models[-1]
    assert (tiny.state, tiny.ready, tiny.default_version) == ("ready", True, 1)
    assert tiny.aliases == {"champion": 1}
    assert [(v.version, v.state, v.provider) for v in tiny.versions] == [(1, "ready", "cpu")]


def test_versions_that_are_not_loaded_are_listed(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    broken = write_tiny(tmp_path, "broken")
    (broken / "model.onnx").write_bytes(b"no graph")
    flags = ("--load", "on-demand", "--no-strict-readiness")
    with ServerProcess(tmp_path, *flags) as server, WebProcess(server.target) as web:

        def states() -> dict[str, tuple[str, bool, str]]:
            models = ModelsReply.model_validate_json(web.get("/v1/models").body).models
            return {m.name: (m.state, m.ready, m.versions[0].reason) for m in models}

        wait_until(lambda: len(states()) == 2)
        assert states()["tiny"] == ("unloaded", True, "it is loaded on the first request")
        assert web.get("/v1/models/tiny").json["name"] == "tiny"
        assert states()["tiny"] == ("ready", True, "")
        assert web.get("/v1/models/broken").error[:2] == (503, "UNAVAILABLE")
        state, ready, reason = states()["broken"]
        assert (state, ready) == ("rejected", False)
        assert "rejected by the check" in reason


def test_a_model_is_described(web: WebProcess, grpc_server: ServerProcess) -> None:
    found = ModelReply.model_validate_json(web.get("/v1/models/seen").body)
    with Client(grpc_server.target) as client:
        info = client.model("seen")
    assert (found.name, found.version, found.labels) == ("seen", 1, len(LABELS))
    assert (found.input.kind, found.input.shape) == ("image", [16, 16, 3])
    assert (found.input.height, found.input.width, found.input.channels) == (16, 16, 3)
    assert ", ".join(found.preprocessing) == info.preprocessing
    assert [m.name for m in found.feature_maps] == [m.name for m in info.feature_maps]
    assert found.feature_maps[0].shape == [4, 16, 16]
    assert (found.feature_maps[0].stage, found.feature_maps[0].is_stage) == (1, True)
    assert info.explanations is not None
    assert found.explanations.methods == list(info.explanations.methods)
    assert found.explanations.heat == [16, 16]
    assert found.explanations.reason == ""
    assert found.limits.max_image_bytes == 8 * 2**20


@pytest.mark.parametrize(
    ("model", "reason"), [("tiny", "only occlusion"), ("bank", "it has no classes"), ("signal", "")]
)
def test_missing_explanations_have_a_reason(web: WebProcess, model: str, reason: str) -> None:
    found = ModelReply.model_validate_json(web.get(f"/v1/models/{model}").body)
    assert reason in found.explanations.reason


@pytest.mark.parametrize("version", ["1", "champion"])
def test_labels_are_listed(web: WebProcess, version: str) -> None:
    reply = web.get(f"/v1/models/tiny/labels?version={version}")
    assert LabelsReply.model_validate_json(reply.body).labels == list(LABELS)
