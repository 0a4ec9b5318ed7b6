"""Models named MODEL.explain: the heat of the classes that a second input states."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from support.calls import rejection
from support.explained import write_explained
from support.images import encode, picture
from support.oip import Stub, oip_connected, packed, pixels
from support.server import ServerProcess
from support.tiny import LABELS, SIDE, write_tiny

from convscope.open_inference import open_inference_pb2 as pb

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
Classes = list[list[int]]
TYPES = {"FP32": "<f4", "INT64": "<i8"}


@pytest.fixture(scope="module")
def oip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    root: Path = tmp_path_factory.mktemp("explained")
    write_explained(root)
    write_tiny(root, "bare")
    with ServerProcess(root) as server, oip_connected(server) as stub:
        yield stub


def request(
    classes: Classes | None = None, count: int = 1, *, typed: bool = False, seed: int = 0
) -> pb.ModelInferRequest:
    batch = pixels(count, seed)
    message = pb.ModelInferRequest(model_name="tiny.explain")
    tensor = message.inputs.add(name="images", datatype="UINT8", shape=batch.shape)
    if typed:
        tensor.contents.uint_contents.extend(batch.ravel().tolist())
    else:
        message.raw_input_contents.append(batch.tobytes())
    if classes is not None:
        values = np.array(classes, np.int64)
        tensor = message.inputs.add(name="classes", datatype="INT64", shape=values.shape)
        if typed:
            tensor.contents.int64_contents.extend(values.ravel().tolist())
        else:
            message.raw_input_contents.append(values.tobytes())
    return message


def infer(oip: Stub, message: pb.ModelInferRequest) -> pb.ModelInferResponse:
    response: pb.ModelInferResponse = oip.ModelInfer(message, timeout=30)
    return response


def arrays(response: pb.ModelInferResponse) -> dict[str, NDArray[Any]]:
    return {
        output.name: np.frombuffer(raw, TYPES[output.datatype]).reshape(tuple(output.shape))
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


@pytest.mark.parametrize("typed", [False, True])
def test_heat_of_the_stated_classes(oip: Stub, typed: bool) -> None:
    found = arrays(infer(oip, request([[0, -1], [2, -3]], 2, typed=typed)))
    assert list(found) == ["probabilities", "heat", "heat_classes"]
    order = np.argsort(-found["probabilities"], axis=1)
    assert found["heat_classes"].tolist() == [[0, order[0, 0]], [2, order[1, 2]]]
    assert found["heat"].shape == (2, 2, SIDE, SIDE)
    logits = arrays(infer(oip, logits_request(2)))["logits"]
    for row, classes in enumerate(found["heat_classes"]):
        np.testing.assert_allclose(
            found["heat"][row].sum(axis=(1, 2)), logits[row, classes], rtol=1e-3
        )


def logits_request(count: int) -> pb.ModelInferRequest:
    message = request(None, count)
    message.model_name = "tiny"
    return message


def test_classes_may_be_left_out_and_come_first(oip: Stub) -> None:
    best = arrays(infer(oip, request(None, 2)))
    assert best["heat_classes"].tolist() == best["probabilities"].argmax(axis=1)[:, None].tolist()
    both = request([[-1], [-1]], 2)
    swapped = pb.ModelInferRequest(model_name="tiny.explain")
    swapped.inputs.extend(reversed(both.inputs))
    swapped.raw_input_contents.extend(reversed(both.raw_input_contents))
    np.testing.assert_allclose(arrays(infer(oip, swapped))["heat"], best["heat"], atol=1e-6)


def test_outputs_are_selected(oip: Stub) -> None:
    message = request([[1]])
    message.outputs.add(name="heat")
    message.outputs.add(name="probabilities").parameters["classification"].int64_param = 1
    heat, best = infer(oip, message).outputs
    assert (heat.name, list(heat.shape)) == ("heat", [1, 1, SIDE, SIDE])
    assert (best.name, best.datatype) == ("probabilities", "BYTES")


def test_concurrent_requests_have_their_own_numbers_of_classes(oip: Stub) -> None:
    kinds: list[Classes] = [[[-1]], [[0, 1, 2]], [[-2, 1]]]
    alone = [arrays(infer(oip, request(classes, seed=n))) for n, classes in enumerate(kinds)]
    with ThreadPoolExecutor(30) as pool:
        replies = pool.map(
            lambda n: arrays(infer(oip, request(kinds[n % 3], seed=n % 3))), range(30)
        )
    for n, found in enumerate(replies):
        assert found["heat_classes"].tolist() == alone[n % 3]["heat_classes"].tolist()
        np.testing.assert_allclose(found["heat"], alone[n % 3]["heat"], atol=1e-5)


def test_crops_are_a_parameter_of_the_reply(oip: Stub) -> None:
    whole = infer(oip, request(None, 2)).parameters["crops"].string_param
    assert json.loads(whole) == [[0, 0, SIDE, SIDE, SIDE, SIDE]] * 2
    message = pb.ModelInferRequest(model_name="tiny.explain", id="7")
    message.inputs.add(name="images", datatype="BYTES", shape=[1])
    message.raw_input_contents.append(packed(encode(picture(80, 40))))
    reply = infer(oip, message)
    assert json.loads(reply.parameters["crops"].string_param) == [[24, 4, 56, 36, 80, 40]]
    assert (reply.id, reply.model_name) == ("7", "tiny.explain")


def test_streamed_requests_are_explained(oip: Stub) -> None:
    good, bad = oip.ModelStreamInfer(iter([request([[0]]), request([[3]])]), timeout=30)
    assert arrays(good.infer_response)["heat_classes"].tolist() == [[0]]
    assert "'classes' has 3; a class is 0 to 2" in bad.error_message


def test_metadata_states_the_second_input(oip: Stub) -> None:
    reply = oip.ModelMetadata(pb.ModelMetadataRequest(name="tiny.explain"), timeout=30)
    assert [(t.name, t.datatype, list(t.shape)) for t in reply.inputs] == [
        ("images", "UINT8", [-1, SIDE, SIDE, 3]),
        ("classes", "INT64", [-1, -1]),
    ]
    assert [(t.name, t.datatype, list(t.shape)) for t in reply.outputs] == [
        ("probabilities", "FP32", [-1, len(LABELS)]),
        ("heat", "FP32", [-1, -1, SIDE, SIDE]),
        ("heat_classes", "INT64", [-1, -1]),
    ]
    config = oip.ModelConfig(pb.ModelConfigRequest(name="tiny.explain"), timeout=30).config
    assert [(t.name, t.data_type, list(t.dims)) for t in config.input] == [
        ("images", pb.TYPE_UINT8, [SIDE, SIDE, 3]),
        ("classes", pb.TYPE_INT64, [-1]),
    ]


def test_models_without_explanations_have_no_second_name(oip: Stub) -> None:
    index = oip.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=30)
    names = [entry.name for entry in index.models]
    assert names == ["bare", "bare.features", "tiny", "tiny.features", "tiny.explain"]
    assert oip.ModelReady(pb.ModelReadyRequest(name="tiny.explain"), timeout=30).ready
    code, message = rejection(oip.ModelReady, pb.ModelReadyRequest(name="bare.explain"))
    assert code == NOT_FOUND
    assert "bare v1 has no explanations (to add them, use 'convscope-exporter explain')" in message


def wrong(**changes: Any) -> pb.ModelInferRequest:
    message = request([[0]])
    for name, value in changes.items():
        if name == "shape":
            del message.inputs[1].shape[:]
            message.inputs[1].shape.extend(value)
        else:
            setattr(message.inputs[1], name, value)
    return message


def selecting(output: str, model: str = "tiny.explain") -> pb.ModelInferRequest:
    message = request([[0]])
    message.model_name = model
    message.outputs.add(name=output).parameters["classification"].int64_param = 1
    return message


def without_data() -> pb.ModelInferRequest:
    message = request([[0]])
    del message.raw_input_contents[1]
    return message


ERRORS: dict[str, tuple[pb.ModelInferRequest, str]] = {
    "class": (request([[3]]), "'classes' has 3; a class is 0 to 2, or -1 for the most probable"),
    "rank": (request([[-4]]), "down to -3"),
    "rows": (request([[0]], 2), "'classes' has 1 rows for a batch of 2; send one for each input"),
    "none": (request([[]]), "'classes' has 0 classes for each input; send 1 to 8"),
    "too many": (request([[0] * 9]), "'classes' has 9 classes for each input; send 1 to 8"),
    "datatype": (wrong(datatype="INT32"), "'classes' is INT32 [1, 1]; it takes INT64 [N, T]"),
    "dimensions": (wrong(shape=[1]), "'classes' is INT64 [1]; it takes INT64 [N, T]"),
    "shape": (wrong(shape=[1, 2]), "the shape [1, 2], and 1 values were sent"),
    "data": (without_data(), "1 raw_input_contents for 2 inputs; send one for each"),
    "unknown output": (selecting("logits"), "no output 'logits'; it has: probabilities, heat"),
    "heat as classes": (selecting("heat"), "the output 'heat' has no classes"),
    "without suffix": (selecting("heat", "tiny"), "tiny takes one, 'images'"),
}


@pytest.mark.parametrize("mistake", ERRORS)
def test_mistake_is_explained(oip: Stub, mistake: str) -> None:
    message, part = ERRORS[mistake]
    code, text = rejection(oip.ModelInfer, message)
    assert code == INVALID
    assert part in text
