"""ModelInfer: tensors and encoded images in, and raw outputs out."""

from pathlib import Path

import grpc
import numpy as np
import pytest
from support.calls import TIMEOUT_SECONDS, connected, rejection, sample
from support.images import encode, picture
from support.oip import (
    Stub,
    arrays,
    image_bytes_request,
    oip_connected,
    pixels,
    raw_request,
    set_parameter,
    signal_tensor_request,
)
from support.server import ServerProcess, serving
from support.tiny import CHANNELS, LABELS, SIDE, SIGNAL_LENGTH, write_extractor, write_tiny

from convscope.open_inference import open_inference_pb2 as pb
from convscope.v1 import inference_pb2 as own
from convscope.v1 import manifest_pb2 as mpb


def infer(oip: Stub, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
    response: pb.ModelInferResponse = oip.ModelInfer(request, timeout=TIMEOUT_SECONDS)
    return response


def test_all_outputs_come_raw_when_none_is_named(oip: Stub) -> None:
    response = infer(oip, raw_request(pixels(3), id="a-7"))
    assert (response.model_name, response.model_version, response.id) == ("tiny", "1", "a-7")
    described = [(o.name, o.datatype, list(o.shape)) for o in response.outputs]
    assert described == [("logits", "FP32", [3, 3]), ("probabilities", "FP32", [3, 3])]
    assert not any(output.HasField("contents") for output in response.outputs)
    values = arrays(response)
    powers = np.exp(values["logits"])
    softmax = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(values["probabilities"], softmax, rtol=1e-5)


def test_outputs_are_in_the_order_of_the_request(oip: Stub) -> None:
    response = infer(oip, raw_request(outputs=["probabilities", "logits"]))
    assert [output.name for output in response.outputs] == ["probabilities", "logits"]
    only = infer(oip, raw_request(outputs=["probabilities"]))
    assert list(arrays(only)) == ["probabilities"]
    np.testing.assert_allclose(
        arrays(only)["probabilities"], arrays(response)["probabilities"], rtol=1e-5
    )


def test_both_endpoints_return_the_same(oip: Stub, tiny_server: ServerProcess) -> None:
    batch = pixels(20)  # more than a batch of the server
    tensors = [
        own.Input(tensor=own.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=p.shape, data=p.tobytes()))
        for p in batch
    ]
    with connected(tiny_server) as stub:
        request = own.ClassifyRequest(model="tiny", inputs=tensors)
        response = stub.Classify(request, timeout=TIMEOUT_SECONDS)
    values = arrays(infer(oip, raw_request(batch)))["probabilities"]
    for result, row in zip(response.results, values, strict=True):
        for entry in result.prediction.classes:
            assert row[entry.index] == pytest.approx(entry.probability, rel=1e-5)


@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])
def test_encoded_images_are_decoded_by_the_manifest(
    oip: Stub, tiny_server: ServerProcess, typed: bool
) -> None:
    images = [encode(picture(seed=0)), encode(picture(90, 200, seed=4), "JPEG")]
    values = arrays(infer(oip, image_bytes_request(*images, typed=typed)))["probabilities"]
    with connected(tiny_server) as stub:
        inputs = [own.Input(encoded_image=image) for image in images]
        request = own.ClassifyRequest(model="tiny", inputs=inputs)
        response = stub.Classify(request, timeout=TIMEOUT_SECONDS)
    for result, row in zip(response.results, values, strict=True):
        top = result.prediction.classes[0]
        assert int(row.argmax()) == top.index
        assert row[top.index] == pytest.approx(top.probability, rel=1e-5)


def test_encoded_images_may_have_a_second_dimension_of_one(oip: Stub) -> None:
    request = image_bytes_request(encode(picture()), encode(picture()))
    request.inputs[0].shape.append(1)
    assert arrays(infer(oip, request))["logits"].shape == (2, 3)


def test_typed_contents_mean_the_same_as_raw_ones(oip: Stub) -> None:
    batch = pixels(2)
    raw = raw_request(batch)
    typed = raw_request(batch)
    del typed.raw_input_contents[:]
    typed.inputs[0].contents.uint_contents.extend(batch.ravel().tolist())
    assert infer(oip, typed).raw_output_contents == infer(oip, raw).raw_output_contents
    signals = np.random.default_rng(0).normal(size=(2, 1, SIGNAL_LENGTH)).astype(np.float32)
    raw, typed = signal_tensor_request(signals), signal_tensor_request(signals)
    del typed.raw_input_contents[:]
    typed.inputs[0].contents.fp32_contents.extend(signals.ravel().tolist())
    assert infer(oip, typed).raw_output_contents == infer(oip, raw).raw_output_contents


def test_feature_maps_are_the_outputs_of_a_second_name(
    oip: Stub, tiny_server: ServerProcess
) -> None:
    batch = pixels(2)
    response = infer(oip, raw_request(batch, model="tiny.features"))
    assert response.model_name == "tiny.features"
    maps = arrays(response)
    assert list(maps) == ["conv"]
    assert maps["conv"].shape == (2, CHANNELS, SIDE, SIDE)
    tensor = own.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=batch[1].shape, data=batch[1].tobytes())
    with connected(tiny_server) as stub:
        request = own.ClassifyRequest(
            model="tiny",
            inputs=[own.Input(tensor=tensor)],
            feature_maps=[own.FeatureMapSelection(name="conv")],
        )
        (result,) = stub.Classify(request, timeout=TIMEOUT_SECONDS).results
    ours = np.frombuffer(result.prediction.feature_maps[0].tensor.data, "<f4")
    np.testing.assert_allclose(maps["conv"][1].ravel(), ours, rtol=1e-5, atol=1e-6)


def test_a_feature_extractor_returns_feature_maps_under_its_own_name(tmp_path: Path) -> None:
    write_extractor(tmp_path, "bank")
    with serving(tmp_path) as server, oip_connected(server) as oip:
        values = arrays(infer(oip, raw_request(pixels(2), model="bank")))
        assert {name: array.shape for name, array in values.items()} == {
            "conv": (2, CHANNELS, SIDE, SIDE)
        }
        same = arrays(infer(oip, raw_request(pixels(2), model="bank.features")))
        np.testing.assert_array_equal(values["conv"], same["conv"])


def test_classification_ranks_and_names_the_classes(oip: Stub) -> None:
    request = raw_request(pixels(2), outputs=["probabilities", "logits"])
    set_parameter(request.outputs[0].parameters["classification"], 2)
    set_parameter(request.outputs[1].parameters["classification"], 99)  # more than the model has
    response = infer(oip, request)
    values = arrays(infer(oip, raw_request(pixels(2))))
    for output, raw, count in zip(
        response.outputs, response.raw_output_contents, (2, 3), strict=True
    ):
        assert (output.datatype, list(output.shape)) == ("BYTES", [2, count])
        texts = unpacked(raw)
        for row, start in zip(values[output.name], (0, count), strict=True):
            best = np.argsort(-row)[:count]
            expected = [f"{row[index]:f}:{index}:{LABELS[index]}" for index in best]
            assert texts[start : start + count] == expected


def unpacked(raw: bytes) -> list[str]:
    texts = []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        texts.append(raw[4:end].decode())
        raw = raw[end:]
    return texts


def test_a_version_is_named_by_its_number_or_by_an_alias(oip: Stub) -> None:
    assert infer(oip, raw_request(model_version="1")).model_version == "1"
    code, message = rejection(oip.ModelInfer, raw_request(model_version="9"))
    assert (code, "has no version 9" in message) == (grpc.StatusCode.NOT_FOUND, True)
    code, message = rejection(oip.ModelInfer, raw_request(model_version="champion"))
    assert (code, "no alias 'champion'" in message) == (grpc.StatusCode.NOT_FOUND, True)


@pytest.mark.parametrize("priority", [0, 1, 2, 7])
def test_every_priority_is_accepted(oip: Stub, priority: int) -> None:
    request = raw_request(parameters={"priority": priority, "timeout": 10_000_000})
    assert infer(oip, request).outputs


def test_unknown_parameters_are_ignored(oip: Stub) -> None:
    parameters: dict[str, int | str | bool] = {
        "triton_enable_empty_final_response": True,
        "mine": "yes",
        "sequence_id": 0,
    }
    request = raw_request(parameters=parameters)
    set_parameter(request.inputs[0].parameters["anything"], 1)
    assert infer(oip, request).outputs


def test_requests_and_stages_are_counted_as_those_of_classifier_service(
    oip: Stub, tiny_server: ServerProcess
) -> None:
    def counts() -> list[float]:
        return [
            sample(tiny_server, "convscope_requests_total", model="signal", code="OK"),
            sample(
                tiny_server, "convscope_requests_total", model="signal", code="INVALID_ARGUMENT"
            ),
            sample(tiny_server, "convscope_stage_seconds_count", model="signal", stage="encode"),
            sample(tiny_server, "grpc_server_handled_total", grpc_method="ModelInfer"),
        ]

    before = counts()
    infer(oip, signal_tensor_request(np.zeros((3, 1, SIGNAL_LENGTH), np.float32)))
    bad = signal_tensor_request()
    bad.inputs[0].datatype = "INT64"
    rejection(oip.ModelInfer, bad)
    assert [new - old for old, new in zip(before, counts(), strict=True)] == [1, 1, 3, 2]
    assert any(
        line.get("method") == "ModelInfer" and line.get("model") == "signal"
        for line in tiny_server.log
    )


def test_canary_is_sticky_by_the_routing_key(tmp_path: Path) -> None:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    (tmp_path / "tiny" / "traffic.json").write_text('{"canary": {"to": 2, "share": 0.5}}')
    with serving(tmp_path, "--versions", "=1") as server, oip_connected(server) as oip:

        def versions() -> list[str]:
            requests = (raw_request(parameters={"routing_key": f"user {n}"}) for n in range(40))
            return [infer(oip, request).model_version for request in requests]

        first = versions()
        assert set(first) == {"1", "2"}
        assert versions() == first
