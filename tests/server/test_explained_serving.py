"""Explanations of a running server while callers leave, versions change, and it stops."""

import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.alterations import slow_down
from support.calls import connected, image_request, sample, wait_until
from support.explained import write_explained
from support.server import ServerProcess

from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

TURNS = 40_000  # of the slow model: some hundredths of a second for each run
Stub = inference_pb2_grpc.ClassifierServiceStub
Selection = pb.ExplanationSelection
OCCLUSION = pb.EXPLANATION_METHOD_OCCLUSION


def occluding(cells: int, model: str = "slow") -> pb.ClassifyRequest:
    selection = Selection(method=OCCLUSION, occlusion=pb.OcclusionGrid(cells=cells))
    return image_request(model=model, explanations=[selection])


@pytest.fixture
def slow_repository(tmp_path: Path) -> Path:
    write_explained(tmp_path, "slow", alter_graph=slow_down(TURNS))
    return tmp_path


def test_occlusion_whose_caller_left_runs_no_further(slow_repository: Path) -> None:
    with ServerProcess(slow_repository, "--max-batch", "1") as server, connected(server) as stub:
        call = stub.Classify.future(occluding(16), timeout=60)
        wait_until(lambda: sample(server, "convscope_batches_running", model="slow") == 1)
        call.cancel()
        ended = "convscope_explained_requests_total"
        wait_until(lambda: sample(server, ended, code="CANCELLED") == 1)
        assert sample(server, "convscope_queue_images") == 0
        found = stub.Classify(image_request(model="slow", explanations=[Selection()]), timeout=30)
        assert len(found.results[0].prediction.explanations) == 1
        assert sample(server, "convscope_occluded_images_total") < 16
        assert sample(server, "convscope_explanations_total", method="occlusion") == 0


def test_explained_calls_in_flight_are_answered_when_the_server_stops(
    slow_repository: Path,
) -> None:
    """One of them waits for its session."""
    explained = image_request(model="slow", explanations=[Selection()])
    flags = ("--max-batch", "1", "--drain-seconds", "0")
    with ServerProcess(slow_repository, *flags) as server, connected(server) as stub:
        calls = [stub.Classify.future(r, timeout=60) for r in (explained, occluding(4))]
        wait_until(lambda: sample(server, "grpc_server_started_total", grpc_method="Classify") == 2)
        server.terminate()
        for call in calls:
            assert len(call.result(timeout=60).results[0].prediction.explanations) == 1
        assert server.process.wait(30) == 0


def test_occlusion_longer_than_the_grace_is_unavailable_and_the_exit_is_clean(
    slow_repository: Path,
) -> None:
    flags = ("--max-batch", "1", "--grace-seconds", "0", "--drain-seconds", "0")
    with ServerProcess(slow_repository, *flags) as server, connected(server) as stub:
        call = stub.Classify.future(occluding(16), timeout=60)
        wait_until(lambda: sample(server, "convscope_batches_running", model="slow") == 1)
        server.terminate()
        with pytest.raises(grpc.RpcError) as caught:
            call.result(timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.process.wait(30) == 0


def test_versions_change_while_calls_are_explained(tmp_path: Path) -> None:
    """Each version opens its session for the first of them."""
    root, making = tmp_path / "models", tmp_path / "making"
    write_explained(root)
    stop = threading.Event()
    replies: list[pb.ClassifyResponse] = []
    errors: list[grpc.RpcError] = []

    def ask(server: ServerProcess, request: pb.ClassifyRequest) -> None:
        with connected(server) as stub:
            while not stop.is_set():
                try:
                    replies.append(stub.Classify(request, timeout=30))
                except grpc.RpcError as error:
                    errors.append(error)

    kinds = [image_request(explanations=[Selection()]), occluding(4, "tiny"), image_request()]
    with ServerProcess(root, "--poll-seconds", "0.1") as server:
        threads = [threading.Thread(target=ask, args=(server, kind)) for kind in kinds]
        for thread in threads:
            thread.start()
        try:
            for version in (2, 3):
                made = write_explained(making, version=version)
                made.rename(root / "tiny" / str(version))
                wait_until(lambda: bool(replies) and replies[-1].version == version)  # noqa: B023
                opened = {"session": "explanations", "version": str(version)}
                wait_until(lambda: sample(server, "convscope_session_open", **opened) == 1)  # noqa: B023
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert [error.details() for error in errors] == []
    assert {reply.version for reply in replies} == {1, 2, 3}
    explanations = [e for reply in replies for e in reply.results[0].prediction.explanations]
    sums = [np.frombuffer(e.heat.data, np.float32).sum() for e in explanations if e.tensor]
    logits = [e.logit for e in explanations if e.tensor]
    np.testing.assert_allclose(sums, logits, rtol=1e-3)
