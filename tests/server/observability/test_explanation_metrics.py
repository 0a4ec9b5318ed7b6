"""What Prometheus scrapes about explanations, from a real server."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.calls import connected, image_request, rejection, sample, wait_until
from support.explained import write_explained
from support.images import encode, picture
from support.oip import oip_connected
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.open_inference import open_inference_pb2 as oip_pb
from convscope.server.observability.metrics import Metrics
from convscope.v1 import inference_pb2 as pb

Selection = pb.ExplanationSelection
EIGEN_CAM, OCCLUSION = pb.EXPLANATION_METHOD_EIGEN_CAM, pb.EXPLANATION_METHOD_OCCLUSION
PHOTO = encode(picture())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root: Path = tmp_path_factory.mktemp("explained")
    write_explained(root)
    write_tiny(root, "bare")
    with ServerProcess(root) as server:
        yield server


def series_of_explanations(server: ServerProcess) -> set[tuple[str, str]]:
    """Return the models and metrics that count explanations."""
    return {
        (sample.labels["model"], family.name)
        for family in text_string_to_metric_families(server.metrics())
        for sample in family.samples
        if family.name.startswith(("convscope_expl", "convscope_occl"))
    }


def test_requests_for_explanations_are_counted(server: ServerProcess) -> None:
    count = partial(sample, server, model="tiny")
    explanations = partial(count, "convscope_explanations_total")
    requests = partial(count, "convscope_explained_requests_total")
    memory = count("convscope_session_memory_bytes")
    assert memory > 0
    with connected(server) as stub:
        for model in ("tiny", "bare"):
            stub.Classify(image_request(model=model), timeout=30)
        # Without a request for explanations there is nothing to see, and no session.
        assert series_of_explanations(server) == set()
        assert count("convscope_session_open") == 0

        selections = [Selection(), Selection(target=pb.ClassTarget(rank=2))]
        selections.append(Selection(method=EIGEN_CAM))
        stub.Classify(image_request(PHOTO, PHOTO, explanations=selections), timeout=30)
        assert (explanations(method="grad-cam"), explanations(method="eigen-cam")) == (4, 2)
        assert count("convscope_explained_infer_seconds_count", run="heat") == 2
        assert count("convscope_session_open", session="explanations") == 1
        assert count("convscope_session_open", session="feature_maps") == 0
        assert count("convscope_session_memory_bytes") > memory

        grid = pb.OcclusionGrid(cells=3)
        occluding = Selection(method=OCCLUSION, occlusion=grid)
        stub.Classify(image_request(PHOTO, explanations=[occluding]), timeout=30)
        assert explanations(method="occlusion") == 1
        assert count("convscope_occluded_images_total") == 9
        assert count("convscope_explained_infer_seconds_count", run="occlusion") == 1
        assert count("convscope_explained_infer_seconds_count") == 3

        unknown = Selection(target=pb.ClassTarget(label="purple"))
        rejection(stub.Classify, image_request(PHOTO, explanations=[unknown]))
        rejection(stub.Classify, image_request(b"text", explanations=[Selection()]))
        assert requests(code="INVALID_ARGUMENT") == 2
        streamed = pb.ClassifyStreamRequest(request=image_request(explanations=[Selection()]))
        (_,) = stub.ClassifyStream(iter([streamed]), timeout=30)
    with oip_connected(server) as oip:
        images = oip_pb.ModelInferRequest.InferInputTensor(
            name="images", datatype="BYTES", shape=[1]
        )
        images.contents.bytes_contents.append(PHOTO)
        classes = oip_pb.ModelInferRequest.InferInputTensor(
            name="classes", datatype="INT64", shape=[1, 2]
        )
        classes.contents.int64_contents.extend([0, -1])
        request = oip_pb.ModelInferRequest(model_name="tiny.explain", inputs=[images, classes])
        oip.ModelInfer(request, timeout=30)
    wait_until(lambda: requests(code="OK") == 4)
    assert explanations(method="grad-cam") == 4 + 1 + 2
    assert requests() == 6
    # They are part of what is counted for all requests.
    assert count("convscope_requests_total") == 7
    assert count("convscope_stage_seconds_count", stage="infer") == 1 + 2 + 1 + 1 + 1
    assert {model for model, _ in series_of_explanations(server)} == {"tiny"}
    (opened,) = [line for line in server.log if line["event"] == "session opened"]
    assert (opened["model"], opened["session"], opened["requests_waiting"]) == (
        "tiny",
        "explanations",
        1,
    )


def test_preloaded_session_is_open_before_the_first_request(tmp_path: Path) -> None:
    write_explained(tmp_path)
    with ServerProcess(tmp_path, "--preload-explanations") as server:
        assert sample(server, "convscope_session_open", session="explanations") == 1
        assert series_of_explanations(server) == set()


def test_series_go_with_their_version() -> None:
    metrics = Metrics()
    key = ("tiny", 1)
    metrics.of(key)
    metrics.explanations(key).answered(["grad-cam"], "heat", [0.01])
    assert any("explan" in family.name for family in metrics.registry.collect() if family.samples)
    metrics.forget(key)
    left = [s for family in metrics.registry.collect() for s in family.samples]
    assert not [s.name for s in left if s.labels.get("model") == "tiny"]
