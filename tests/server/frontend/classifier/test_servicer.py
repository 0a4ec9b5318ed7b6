"""ClassifierService over real gRPC: replies, error codes and messages."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.alterations import flip_byte
from support.calls import (
    connected,
    image_request,
    refused,
    rejection,
    signal_request,
)
from support.images import encode, picture, png_bomb, scan_bomb
from support.server import ServerProcess
from support.tiny import CHANNELS, LABELS, SIDE, write_signal, write_tiny

from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc
from convscope.v1 import manifest_pb2 as mpb

Stub = inference_pb2_grpc.ClassifierServiceStub
Floats = NDArray[np.float32]
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
EXHAUSTED, UNAVAILABLE = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE
F32 = mpb.DATA_TYPE_FLOAT32
# What would reveal details of the server's implementation.
INSIDE = re.compile(
    r"Traceback|Error\b|Exception|\.py\b|/tmp/|/home/|/usr/|site-packages|object at 0x"
)


@pytest.fixture(scope="module")
def stub(tiny_server: ServerProcess) -> Iterator[Stub]:
    with connected(tiny_server) as stub:
        yield stub


def plain(red: int, green: int, blue: int) -> bytes:
    return encode(Image.new("RGB", (60, 40), (red, green, blue)))


RED, GREEN, BLUE = plain(220, 20, 20), plain(20, 220, 20), plain(20, 20, 220)


def tops(response: pb.ClassifyResponse) -> list[str]:
    return [result.prediction.classes[0].label for result in response.results]


# Results


@pytest.mark.parametrize(("image", "label"), [(RED, "red"), (GREEN, "green"), (BLUE, "blue")])
def test_image_is_classified(stub: Stub, image: bytes, label: str) -> None:
    response = stub.Classify(image_request(image), timeout=30)
    assert (response.model, response.version, response.provider) == ("tiny", 1, "cpu")
    (result,) = response.results
    classes = result.prediction.classes
    assert classes[0].label == label
    assert sorted(c.label for c in classes) == sorted(LABELS)
    assert [LABELS[c.index] for c in classes] == [c.label for c in classes]
    assert sum(c.probability for c in classes) == pytest.approx(1, abs=1e-5)
    assert [c.probability for c in classes] == sorted(
        (c.probability for c in classes), reverse=True
    )


def test_stages_are_timed(stub: Stub) -> None:
    times = stub.Classify(image_request(), timeout=30).results[0].stage_times
    assert times.decode_seconds > 0
    assert times.queue_seconds >= 0
    assert times.infer_seconds > 0
    assert times.encode_seconds > 0


def test_pixels_are_answered_like_the_encoded_image(stub: Stub) -> None:
    image = picture(77, 51)
    tensor = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=[51, 77, 3], data=image.tobytes())
    request = image_request(encode(image))
    request.inputs.append(pb.Input(pixels=tensor))
    encoded, pixels = stub.Classify(request, timeout=30).results
    assert encoded.prediction == pixels.prediction


def test_tensor_in_the_graph_s_own_shape_is_passed_on_unchanged(stub: Stub) -> None:
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[..., 2] = 250
    tensor = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=pixels.shape, data=pixels.tobytes())
    request = pb.ClassifyRequest(model="tiny", inputs=[pb.Input(tensor=tensor)])
    assert tops(stub.Classify(request, timeout=30)) == ["blue"]


def test_tensor_model_is_answered(stub: Stub) -> None:
    response = stub.Classify(signal_request(3), timeout=30)
    assert [len(result.prediction.classes) for result in response.results] == [2, 2, 2]


def test_results_come_in_the_order_of_the_inputs(stub: Stub) -> None:
    order = [RED, BLUE, GREEN] * 9  # more than one batch
    labels = ["red", "blue", "green"] * 9
    assert tops(stub.Classify(image_request(*order), timeout=30)) == labels


def test_inputs_of_all_kinds_in_one_request(stub: Stub) -> None:
    image = picture(30, 30)
    shape = [30, 30, 3]
    pixels = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=shape, data=image.tobytes())
    ready = pb.Tensor(
        dtype=mpb.DATA_TYPE_UINT8, shape=[SIDE, SIDE, 3], data=bytes([0, 250, 0] * SIDE * SIDE)
    )
    inputs = [pb.Input(encoded_image=RED), pb.Input(pixels=pixels), pb.Input(tensor=ready)]
    response = stub.Classify(pb.ClassifyRequest(model="tiny", inputs=inputs), timeout=30)
    assert (len(response.results), tops(response)[0], tops(response)[2]) == (3, "red", "green")


def test_bad_input_among_good_ones_fails_alone(stub: Stub) -> None:
    request = image_request(RED, b"not an image", BLUE)
    request.inputs.add()
    red, text, blue, empty = stub.Classify(request, timeout=30).results
    assert [r.prediction.classes[0].label for r in (red, blue)] == ["red", "blue"]
    assert text.error.code == empty.error.code == INVALID.value[0]
    assert "not an image" in text.error.message
    assert "the input has no content" in empty.error.message


def test_several_bad_inputs_have_their_own_errors(stub: Stub) -> None:
    results = stub.Classify(image_request(b"", b"text"), timeout=30).results
    assert ["empty" in results[0].error.message, "4 bytes" in results[1].error.message] == [
        True
    ] * 2


def test_top_k_and_min_probability(stub: Stub) -> None:
    best = stub.Classify(image_request(RED, top_k=1), timeout=30).results[0].prediction.classes
    every = stub.Classify(image_request(RED, top_k=99), timeout=30).results[0].prediction.classes
    likely = image_request(RED, min_probability=every[0].probability)
    assert [c.label for c in best] == ["red"]
    assert len(every) == 3
    assert stub.Classify(likely, timeout=30).results[0].prediction.classes == every[:1]


# Feature maps


def feature_maps(stub: Stub, *images: bytes, **options: Any) -> list[pb.FeatureMap]:
    selection = pb.FeatureMapSelection(name="conv", **options)
    response = stub.Classify(image_request(*images, feature_maps=[selection]), timeout=30)
    return [result.prediction.feature_maps[0] for result in response.results]


def array(message: pb.FeatureMap) -> Floats:
    dtype = {1: np.uint8, 2: np.float16, 3: np.float32}[message.tensor.dtype]
    stored = np.frombuffer(message.tensor.data, dtype).reshape(tuple(message.tensor.shape))
    return (message.offset + message.scale * stored.astype(np.float32)).astype(np.float32)


def test_feature_map_comes_with_the_same_classes(stub: Stub) -> None:
    selection = pb.FeatureMapSelection(name="conv")
    plain = stub.Classify(image_request(RED), timeout=30).results[0].prediction
    seen = stub.Classify(image_request(RED, feature_maps=[selection]), timeout=30)
    assert plain.classes == seen.results[0].prediction.classes
    (found,) = seen.results[0].prediction.feature_maps
    assert list(found.tensor.shape) == [CHANNELS, SIDE, SIDE]
    assert array(found)[0].mean() > array(found)[2].mean()  # channel 0 follows red


def test_every_input_gets_its_own_feature_map(stub: Stub) -> None:
    red, blue = feature_maps(stub, RED, BLUE, strongest=1)
    assert (list(red.channels), list(blue.channels)) == ([0], [2])


@pytest.mark.parametrize("dtype", [mpb.DATA_TYPE_UINT8, mpb.DATA_TYPE_FLOAT16, F32])
@pytest.mark.parametrize(
    ("options", "cut"),
    [
        ({}, lambda whole: whole),
        ({"indices": pb.ChannelIndices(values=[2, 0])}, lambda whole: whole[[2, 0]]),
        ({"strongest": 1}, lambda whole: whole[[whole.mean(axis=(1, 2)).argmax()]]),
        ({"mean": True}, lambda whole: whole.mean(axis=0, keepdims=True)),
    ],
    ids=["whole", "indices", "strongest", "mean"],
)
def test_selections_in_every_type(
    stub: Stub, dtype: int, options: dict[str, Any], cut: Callable[[Floats], Floats]
) -> None:
    whole = array(feature_maps(stub, encode(picture()))[0])
    (found,) = feature_maps(stub, encode(picture()), dtype=dtype, **options)
    assert found.tensor.dtype == dtype
    step = {1: found.scale, 2: 0.01, 3: 1e-5}[dtype]
    np.testing.assert_allclose(array(found), cut(whole), atol=step)


def test_plain_and_feature_map_requests_mix(stub: Stub) -> None:
    selection = pb.FeatureMapSelection(name="conv", mean=True)
    with_maps = image_request(RED, feature_maps=[selection])
    calls = [stub.Classify.future(r) for r in [image_request(BLUE), with_maps] * 20]
    answers = [call.result(timeout=30) for call in calls]
    assert [tops(answer)[0] for answer in answers] == ["blue", "red"] * 20
    counts = [len(answer.results[0].prediction.feature_maps) for answer in answers]
    assert counts == [0, 1] * 20


# Errors


def pixels_request(shape: list[int], data: bytes) -> pb.ClassifyRequest:
    tensor = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=shape, data=data)
    return pb.ClassifyRequest(model="tiny", inputs=[pb.Input(pixels=tensor)])


def maps_request(**options: Any) -> pb.ClassifyRequest:
    return image_request(RED, feature_maps=[pb.FeatureMapSelection(**options)])


LARGE = encode(picture(300, 200), "JPEG", quality=95)
ERRORS: dict[str, tuple[pb.ClassifyRequest, grpc.StatusCode, list[str]]] = {
    "no model": (pb.ClassifyRequest(), INVALID, ["names no model", "signal, tiny"]),
    "unknown model": (image_request(model="cat"), NOT_FOUND, ["'cat'", "signal, tiny"]),
    "path as model": (image_request(model="../../etc"), NOT_FOUND, ["no model", "signal, tiny"]),
    "unknown version": (image_request(version=7), NOT_FOUND, ["no version 7", "it has: 1"]),
    "version 0": (image_request(version=0), NOT_FOUND, ["no version 0", "it has: 1"]),
    "unknown alias": (image_request(alias="best"), NOT_FOUND, ["no alias 'best'", "none"]),
    "no inputs": (pb.ClassifyRequest(model="tiny"), INVALID, ["no inputs", "at least one"]),
    "too many inputs": (image_request(*[RED] * 65), INVALID, ["65 inputs", "at most 64", "split"]),
    "no content": (
        pb.ClassifyRequest(model="tiny", inputs=[pb.Input()]),
        INVALID,
        ["no content", "encoded_image, pixels and tensor"],
    ),
    "empty image": (image_request(b""), INVALID, ["0 bytes", "whole file"]),
    "text": (image_request(b"hello"), INVALID, ["5 bytes", "JPEG, PNG, WebP, BMP or GIF"]),
    "truncated": (
        image_request(LARGE[: len(LARGE) // 2]),
        INVALID,
        ["JPEG", "truncated", "whole file"],
    ),
    "bomb": (image_request(png_bomb()), INVALID, ["20,000 x 20,000", "16,000,000", "scale it"]),
    "scan bomb": (image_request(scan_bomb(500)), INVALID, ["more than 64 scans", "baseline"]),
    "top_k": (image_request(RED, top_k=0), INVALID, ["top_k is 0", "1 or more"]),
    "probability": (image_request(RED, min_probability=2), INVALID, ["is 2", "between 0 and 1"]),
    "pixels' shape": (pixels_request([4, 4], bytes(16)), INVALID, ["[4, 4]", "[height, width"]),
    "pixels' bytes": (pixels_request([4, 4, 3], b"x"), INVALID, ["48 bytes", "must agree"]),
    "tensor's type": (
        pb.ClassifyRequest(model="tiny", inputs=signal_request().inputs),
        INVALID,
        ["float32 [1, 32]", "this model takes uint8 [16, 16, 3]"],
    ),
    "image for a tensor model": (
        image_request(RED, model="signal"),
        INVALID,
        ["signal accepts no images", "float32 tensor [1, 32]"],
    ),
    "unknown feature map": (
        maps_request(name="layer9"),
        INVALID,
        ["no feature map 'layer9' in tiny v1", "it has: conv"],
    ),
    "unknown channel": (
        maps_request(name="conv", indices=pb.ChannelIndices(values=[4])),
        INVALID,
        ["channel 4", "0 to 3"],
    ),
    "too many channels": (maps_request(name="conv", strongest=5), INVALID, ["is 5", "4 channels"]),
    "feature map of a model without": (
        pb.ClassifyRequest(
            model="signal",
            inputs=signal_request().inputs,
            feature_maps=[pb.FeatureMapSelection(name="conv")],
        ),
        INVALID,
        ["no feature map 'conv' in signal v1", "it has none"],
    ),
}


@pytest.mark.parametrize("situation", ERRORS)
def test_refusal_names_the_value_and_the_repair(stub: Stub, situation: str) -> None:
    request, code, words = ERRORS[situation]
    found_code, message = rejection(stub.Classify, request)
    assert found_code is code
    assert [word for word in words if word not in message] == []
    assert not INSIDE.search(message)
    assert len(message) < 400


def test_server_is_well_after_every_refusal(stub: Stub) -> None:
    for request, *_ in ERRORS.values():
        rejection(stub.Classify, request)
    assert tops(stub.Classify(image_request(RED), timeout=30)) == ["red"]


def test_refusal_to_describe_a_model(stub: Stub) -> None:
    assert rejection(stub.GetModel, pb.GetModelRequest())[0] is INVALID
    assert rejection(stub.GetModel, pb.GetModelRequest(model="cat"))[0] is NOT_FOUND
    assert rejection(stub.GetModel, pb.GetModelRequest(model="tiny", version=9))[0] is NOT_FOUND


def test_pixels_of_a_hundred_dimensions(stub: Stub) -> None:
    assert rejection(stub.Classify, pixels_request([1] * 100, b"\0"))[0] is INVALID


def test_pixels_of_thousands_of_dimensions(stub: Stub) -> None:
    assert rejection(stub.Classify, pixels_request([1] * 5000, b""))[0] is INVALID


# Limits that are set


@pytest.fixture(scope="module")
def narrow(tiny_repository: Path) -> Iterator[Stub]:
    flags = {
        "max-inputs": 20,
        "max-batch": 1,
        "max-queue": 2,
        "max-feature-map-bytes": 2 * CHANNELS * SIDE**2,
        "max-image-pixels": 6000,
        "max-image-side": 100,
        "max-request-bytes": 100_000,
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    with ServerProcess(tiny_repository, *words) as server, connected(server) as stub:
        yield stub


def test_reply_s_feature_maps_have_a_cap(narrow: Stub) -> None:
    code, message = rejection(narrow.Classify, maps_request(name="conv"))
    assert code is INVALID
    assert "would take 4,096 bytes; at most 2,048" in message
    half = maps_request(name="conv", dtype=mpb.DATA_TYPE_FLOAT16)
    assert len(narrow.Classify(half, timeout=30).results) == 1
    half.inputs.append(half.inputs[0])
    assert rejection(narrow.Classify, half)[0] is INVALID


def test_limits_of_an_image_are_the_set_ones(narrow: Stub) -> None:
    _, wide = rejection(narrow.Classify, image_request(encode(picture(101, 10))))
    _, large = rejection(narrow.Classify, image_request(encode(picture(80, 80))))
    assert "101 x 10 pixels; at most 6,000 pixels and 100 a side" in wide
    assert "80 x 80 pixels" in large


def test_request_larger_than_the_queue_is_taken_when_nothing_waits(narrow: Stub) -> None:
    assert len(narrow.Classify(signal_request(20), timeout=30).results) == 20


def test_other_errors_request_no_retry(narrow: Stub) -> None:
    error = refused(narrow.Classify, image_request(b"text"))
    assert "grpc-retry-pushback-ms" not in [item[0] for item in error.trailing_metadata()]


def test_reply_above_its_cap_is_rejected_as_invalid(tiny_repository: Path) -> None:
    with (
        ServerProcess(tiny_repository, "--max-reply-bytes", "1024") as server,
        connected(server) as stub,
    ):
        assert rejection(stub.Classify, maps_request(name="conv"))[0] is INVALID


# Versions, aliases and descriptions


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    root = tmp_path_factory.mktemp("versions")
    for version in (1, 2, 3):
        write_tiny(root, "tiny", version)
    aliases = {"champion": 1, "first": 1, "newest": 3}
    (root / "tiny" / "aliases.json").write_text(json.dumps(aliases))
    write_signal(root)
    flip_byte(write_tiny(root, "broken") / "model.onnx", 9)
    with ServerProcess(root, "--versions", "2") as server, connected(server) as stub:
        yield stub


@pytest.mark.parametrize(
    ("selector", "version"),
    [({}, 3), ({"version": 2}, 2), ({"version": 1}, 1), ({"alias": "champion"}, 1)],
)
def test_version_that_answers(versions: Stub, selector: dict[str, Any], version: int) -> None:
    assert versions.Classify(image_request(**selector), timeout=30).version == version
    described = versions.GetModel(pb.GetModelRequest(model="tiny", **selector), timeout=30)
    assert described.summary.version == described.manifest.version == version


def test_model_whose_bundle_was_rejected_is_unavailable(versions: Stub) -> None:
    code, message = rejection(versions.Classify, image_request(model="broken"))
    assert code is UNAVAILABLE
    assert "no version of broken is ready" in message
    assert not INSIDE.search(message)
    assert rejection(versions.GetModel, pb.GetModelRequest(model="broken"))[0] is UNAVAILABLE


def test_models_are_listed_by_name_and_version(versions: Stub) -> None:
    models = versions.ListModels(pb.ListModelsRequest(), timeout=30).models
    found = [(m.model, m.version, list(m.aliases), m.is_default) for m in models]
    assert found == [
        ("signal", 1, [], True),
        ("tiny", 1, ["champion", "first"], False),
        ("tiny", 2, [], False),
        ("tiny", 3, ["newest"], True),
    ]


def test_summary_describes_the_model(versions: Stub) -> None:
    *_, tiny = versions.ListModels(pb.ListModelsRequest(), timeout=30).models
    assert (tiny.num_classes, list(tiny.feature_maps)) == (3, ["conv"])
    assert (tiny.provider, tiny.precision) == ("cpu", mpb.PRECISION_FP32)
    assert (tiny.task, tiny.input.kind) == (mpb.TASK_CLASSIFICATION, mpb.INPUT_KIND_IMAGE)
    assert list(tiny.input.shape) == [SIDE, SIDE, 3]


def test_model_is_described_with_its_manifest(versions: Stub) -> None:
    manifest = versions.GetModel(pb.GetModelRequest(model="tiny"), timeout=30).manifest
    assert list(manifest.labels) == list(LABELS)
    assert manifest.feature_maps[0].channels == CHANNELS
    assert {file.name for file in manifest.files} == {"model.onnx", "golden.npz"}
