"""A running server while versions come and go: no request is lost or gets a wrong reply."""

import json
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from support.alterations import burden, change_weight, flip_byte
from support.calls import connected, health, image_request, sample, wait_until
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.v1 import admin_pb2 as admin
from convscope.v1 import admin_pb2_grpc
from convscope.v1 import inference_pb2 as pb

pytestmark = pytest.mark.one_transport("versions are swapped behind the transports")

POLL = ("--poll-seconds", "0.1")


def publish(root: Path, version: int) -> None:
    """Publish a version whose results differ from every other's, by one rename."""

    def turn(weights: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(weights * (1 + version / 50), dtype=np.float32)

    made = write_tiny(root / ".making", "tiny", version, alter_graph=change_weight("dense", turn))
    # Its golden outputs are those of the unaltered graph, to which it is near enough.
    (root / "tiny").mkdir(exist_ok=True)
    made.rename(root / "tiny" / str(version))


class Traffic:
    """Classifies one image again and again from several threads, and keeps the replies."""

    def __init__(self, server: ServerProcess, threads: int = 4, alias: str = "") -> None:
        self.answers: list[tuple[float, int, float]] = []  # when, version, best probability
        self.errors: list[grpc.RpcError] = []
        self._server = server
        self._request = image_request(model="tiny")
        if alias:
            self._request.alias = alias
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with connected(self._server) as stub:
            while not self._stop.is_set():
                try:
                    reply = stub.Classify(self._request, timeout=30)
                except grpc.RpcError as error:
                    self.errors.append(error)
                else:
                    best = reply.results[0].prediction.classes[0].probability
                    self.answers.append((time.monotonic(), reply.version, best))

    @property
    def latest(self) -> int | None:
        """The version that served the latest request."""
        return self.answers[-1][1] if self.answers else None

    def probabilities(self) -> dict[int, set[float]]:
        """Every best probability that each version gave."""
        found: dict[int, set[float]] = {}
        for _, version, probability in self.answers:
            found.setdefault(version, set()).add(round(probability, 5))
        return found


def withdraw(root: Path, version: int) -> None:
    """Remove a version by one rename: a poll during an rmtree would see a part of it."""
    (root / "tiny" / str(version)).rename(root / f".withdrawn-{version}-{uuid.uuid4().hex}")


def answering(server: ServerProcess) -> list[int]:
    with connected(server) as stub:
        models = stub.ListModels(pb.ListModelsRequest(), timeout=10).models
        return [summary.version for summary in models]


def test_versions_come_and_go_under_load_and_no_answer_is_lost_or_wrong(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    with ServerProcess(tmp_path, *POLL) as server, Traffic(server) as traffic:
        wait_until(lambda: traffic.latest == 1)
        for version in (2, 3, 4):
            publish(tmp_path, version)
            wait_until(lambda: answering(server) == [version])  # noqa: B023
            wait_until(lambda: traffic.latest == version)  # noqa: B023
        for version in (4, 3):
            withdraw(tmp_path, version)
            wait_until(lambda: answering(server) == [version - 1])  # noqa: B023
        wait_until(lambda: traffic.latest == 2)
    assert traffic.errors == []
    by_version = traffic.probabilities()
    assert set(by_version) == {1, 2, 3, 4}
    assert all(len(found) == 1 for found in by_version.values())
    assert len(set.union(*by_version.values())) == 4


def test_alias_moves_under_load(tmp_path: Path) -> None:
    for version in (1, 2):
        publish(tmp_path, version)

    def promote(version: int) -> None:
        beside = tmp_path / "tiny" / ".aliases"
        beside.write_text(json.dumps({"champion": version}))
        beside.rename(tmp_path / "tiny" / "aliases.json")

    promote(1)
    with (
        ServerProcess(tmp_path, *POLL, "--versions", "2") as server,
        Traffic(server, alias="champion") as traffic,
    ):
        for version in (2, 1, 2):
            promote(version)
            wait_until(lambda: traffic.latest == version)  # noqa: B023
    assert traffic.errors == []


def test_rejected_version_has_a_metric_and_a_log_line_and_the_old_one_serves(
    tmp_path: Path,
) -> None:
    publish(tmp_path, 1)
    with ServerProcess(tmp_path, *POLL) as server, Traffic(server, threads=1) as traffic:
        made = write_tiny(tmp_path / ".making", version=2)
        flip_byte(made / "model.onnx", 50)
        made.rename(tmp_path / "tiny" / "2")
        labels = {"model": "tiny", "version": "2", "reason": "hash"}
        wait_until(lambda: sample(server, "convscope_model_refused", **labels) == 1)
        assert answering(server) == [1]
        assert sample(server, "convscope_model_load_failures_total", reason="hash") == 1
        withdraw(tmp_path, 2)
        publish(tmp_path, 2)
        wait_until(lambda: answering(server) == [2])
        assert sample(server, "convscope_model_refused", **labels) == 0
        rejected = [line for line in server.log if line["event"] == "bundle rejected"]
    assert [(line["version"], line["reason"]) for line in rejected] == [(2, "hash")]
    assert traffic.errors == []


def test_graph_that_crashes_the_checker_is_rejected_and_the_server_survives(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    with ServerProcess(tmp_path, *POLL) as server:
        made = write_tiny(tmp_path / ".making", version=2)
        (made / "manifest.json").write_text("[" * 100_000)  # deeper than a parser's stack
        made.rename(tmp_path / "tiny" / "2")
        wait_until(lambda: sample(server, "convscope_model_refused", model="tiny") == 1)
        assert answering(server) == [1]


def test_new_model_appears_and_goes(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    with ServerProcess(tmp_path, *POLL) as server, connected(server) as stub:
        write_tiny(tmp_path, "other")
        request = image_request(model="other")
        wait_until(lambda: len(stub.ListModels(pb.ListModelsRequest(), timeout=10).models) == 2)
        assert stub.Classify(request, timeout=30).model == "other"
        shutil.rmtree(tmp_path / "other")
        wait_until(lambda: len(stub.ListModels(pb.ListModelsRequest(), timeout=10).models) == 1)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Classify(request, timeout=30)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_many_bundles_with_a_memory_cap_all_answer_on_demand(tmp_path: Path) -> None:
    for number in range(20):
        write_tiny(tmp_path, f"m{number}", alter_graph=burden(256))  # a megabyte each
    flags = ("--load", "on-demand", "--max-memory-mb", "10")
    most = 0
    with ServerProcess(tmp_path, *flags) as server, connected(server) as stub:
        assert answering(server) == []
        for number in range(20):
            reply = stub.Classify(image_request(model=f"m{number}"), timeout=60)
            assert reply.model == f"m{number}"
            most = max(most, len(answering(server)))
        assert 1 < most <= 5
        # All at once, although not even half of them fit.
        calls = {
            n: stub.Classify.future(image_request(model=f"m{n}"), timeout=120) for n in range(12)
        }
        assert {n: call.result().model for n, call in calls.items()} == {
            n: f"m{n}" for n in range(12)
        }


def test_model_that_never_served_leaves_overall_health_as_it_is(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    with ServerProcess(tmp_path, *POLL) as server:
        made = write_tiny(tmp_path / ".making", "fresh")
        flip_byte(made / "model.onnx", 50)
        made.parent.rename(tmp_path / "fresh")
        wait_until(lambda: sample(server, "convscope_model_refused", model="fresh") == 1)
        assert (health(server, "fresh"), health(server, "")) == ("NOT_SERVING", "SERVING")


# The operator's calls


@contextmanager
def administered(root: Path, *flags: str) -> Iterator[tuple[ServerProcess, Callable[..., object]]]:
    """A server with an AdminService on a Unix socket, and a way to call it."""
    address = f"unix:{root / '.admin.sock'}"
    with (
        ServerProcess(root, "--poll-seconds", "0", "--admin-address", address, *flags) as server,
        grpc.insecure_channel(address) as channel,
    ):
        stub = admin_pb2_grpc.AdminServiceStub(channel)

        def call(method: str, request: object) -> object:
            return getattr(stub, method)(request, timeout=60)

        yield server, call


def test_operator_loads_what_was_published_and_sees_what_was_rejected(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    with administered(tmp_path) as (server, call):
        publish(tmp_path, 2)
        assert answering(server) == [1]  # it does not poll
        reply = call("LoadModel", admin.LoadModelRequest(model="tiny"))
        assert isinstance(reply, admin.LoadModelResponse)
        assert [(v.version, v.is_default) for v in reply.status.versions] == [(2, True)]
        made = write_tiny(tmp_path / ".making", version=3)
        flip_byte(made / "model.onnx", 50)
        made.rename(tmp_path / "tiny" / "3")
        with pytest.raises(grpc.RpcError) as caught:
            call("LoadModel", admin.LoadModelRequest(model="tiny"))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "tiny v3 was rejected: the SHA-256 of model.onnx" in str(caught.value.details())
        assert answering(server) == [2]
        reply = call("GetStatus", admin.GetStatusRequest())
        assert isinstance(reply, admin.GetStatusResponse)
        states = {v.version: (v.state, v.reason) for v in reply.models[0].versions}
        assert states == {
            2: (admin.VERSION_STATE_READY, ""),
            3: (admin.VERSION_STATE_REFUSED, "hash"),
        }


def test_operator_unloads_and_names(tmp_path: Path) -> None:
    for version in (1, 2):
        publish(tmp_path, version)
    with administered(tmp_path) as (server, call):
        call("SetAlias", admin.SetAliasRequest(model="tiny", alias="champion", version=1))
        assert answering(server) == [1, 2]
        assert json.loads((tmp_path / "tiny" / "aliases.json").read_text()) == {"champion": 1}
        call("UnloadModel", admin.UnloadModelRequest(model="tiny", version=2))
        assert answering(server) == [1]
        call("UnloadModel", admin.UnloadModelRequest(model="tiny"))
        assert answering(server) == []
        call("LoadModel", admin.LoadModelRequest(model="tiny"))
        assert answering(server) == [1, 2]


@pytest.mark.parametrize(
    ("method", "request_", "code"),
    [
        ("LoadModel", admin.LoadModelRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        ("LoadModel", admin.LoadModelRequest(model="cat"), grpc.StatusCode.NOT_FOUND),
        ("UnloadModel", admin.UnloadModelRequest(model="cat"), grpc.StatusCode.NOT_FOUND),
        (
            "SetAlias",
            admin.SetAliasRequest(model="tiny", alias="7", version=1),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            "SetAlias",
            admin.SetAliasRequest(model="tiny", alias="champion", version=9),
            grpc.StatusCode.NOT_FOUND,
        ),
        ("GetStatus", admin.GetStatusRequest(model="cat"), grpc.StatusCode.NOT_FOUND),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_operator_sees_what_is_wrong(
    operated: Callable[..., object], method: str, request_: object, code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        operated(method, request_)
    assert caught.value.code() is code
    assert caught.value.details()


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., object]]:
    root = tmp_path_factory.mktemp("operated")
    publish(root, 1)
    with administered(root) as (_, call):
        yield call


def test_public_listener_has_no_admin_service(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    with ServerProcess(tmp_path) as server, grpc.insecure_channel(server.target) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetStatus(admin.GetStatusRequest(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
