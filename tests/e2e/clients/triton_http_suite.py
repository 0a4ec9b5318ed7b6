"""Tests of `convscope web` with Triton's HTTP client; run in an environment that contains it.

CONVSCOPE_TARGET is the HOST:PORT of a web process in front of a server of the models "tiny",
"signal" and "seen", which is "tiny" with explanations.
"""

import io
import os

import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

TARGET = os.environ["CONVSCOPE_TARGET"]
LABELS = ("red", "green", "blue")
CONCURRENT = 16


@pytest.fixture(scope="module")
def client():
    with triton.InferenceServerClient(TARGET, concurrency=CONCURRENT) as client:
        yield client


def plain(color, count=1):
    """Make pictures of one color, uint8 [count, 16, 16, 3]."""
    return np.broadcast_to(np.array(color, np.uint8), (count, 16, 16, 3)).copy()


RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)
BATCH = np.concatenate([plain(color) for color in (RED, GREEN, BLUE)])


def image_input(batch, binary=True):
    tensor = triton.InferInput("images", batch.shape, "UINT8")
    return tensor.set_data_from_numpy(batch, binary_data=binary)


def png(color):
    out = io.BytesIO()
    Image.new("RGB", (60, 40), color).save(out, "PNG")
    return out.getvalue()


def error_of(call, *arguments, **options):
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **options)
    return caught.value.status(), caught.value.message()


# The server and its models


def test_health(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert client.is_model_ready("tiny.features")
    assert not client.is_model_ready("cat")


def test_metadata(client):
    server = client.get_server_metadata()
    assert server["name"] == "convscope"
    assert "binary_tensor_data" in server["extensions"]
    model = client.get_model_metadata("tiny")
    assert model["versions"] == ["1"]
    assert model["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 16, 16, 3]}]
    assert [output["name"] for output in model["outputs"]] == ["logits", "probabilities"]


def test_config_names_the_tensors_of_the_metadata(client):
    config = client.get_model_config("tiny")
    metadata = client.get_model_metadata("tiny")
    assert config["max_batch_size"] == 64
    assert [i["name"] for i in config["input"]] == [i["name"] for i in metadata["inputs"]]
    assert [i["dims"] for i in config["input"]] == [i["shape"][1:] for i in metadata["inputs"]]
    assert config["input"][0]["data_type"] == "TYPE_UINT8"
    assert "dynamic_batching" in config


def test_index(client):
    index = client.get_model_repository_index()
    assert {(m["name"], m["version"], m["state"]) for m in index} >= {
        ("signal", "1", "READY"),
        ("tiny", "1", "READY"),
        ("tiny.features", "1", "READY"),
        ("seen.explain", "1", "READY"),
    }


def test_statistics_grow_with_requests(client):
    def read():
        (found,) = client.get_inference_statistics("tiny")["model_stats"]
        return found

    before = read()
    client.infer("tiny", [image_input(BATCH)])
    after = read()
    assert after["inference_count"] == before["inference_count"] + 3
    success = "inference_stats", "success", "count"
    counts = [stats[success[0]][success[1]][success[2]] for stats in (before, after)]
    assert counts[1] == counts[0] + 1
    assert len(client.get_inference_statistics()["model_stats"]) >= 3


# Inference


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False])
def test_tensors_as_bytes_and_as_json(client, binary_input, binary_output):
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary_output)
        for name in ("probabilities", "logits")
    ]
    result = client.infer(
        "tiny", [image_input(BATCH, binary_input)], outputs=outputs, request_id="77"
    )
    response = result.get_response()
    assert (response["id"], response["model_version"]) == ("77", "1")
    probabilities = result.as_numpy("probabilities")
    assert probabilities.argmax(axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert result.as_numpy("logits").dtype == np.float32


def test_all_outputs_are_bytes_if_none_is_requested(client):
    result = client.infer("tiny", [image_input(BATCH)], model_version="1")
    assert result.as_numpy("logits").shape == (3, 3)
    assert all("binary_data_size" in o["parameters"] for o in result.get_response()["outputs"])


def test_bytes_and_json_have_equal_values(client):
    mixed = [
        triton.InferRequestedOutput("logits", binary_data=True),
        triton.InferRequestedOutput("probabilities", binary_data=False),
    ]
    found = client.infer("tiny", [image_input(BATCH, False)], outputs=mixed)
    expected = client.infer("tiny", [image_input(BATCH)])
    for name in ("logits", "probabilities"):
        np.testing.assert_array_equal(found.as_numpy(name), expected.as_numpy(name))


def test_encoded_images(client):
    elements = np.array([png(color) for color in (BLUE, RED)], dtype=np.object_)
    tensor = triton.InferInput("images", elements.shape, "BYTES")
    tensor.set_data_from_numpy(elements)
    result = client.infer("tiny", [tensor])
    assert result.as_numpy("probabilities").argmax(axis=1).tolist() == [2, 0]


def test_signals(client):
    signal = np.random.default_rng(0).normal(size=(2, 1, 32)).astype(np.float32)
    for binary in (True, False):
        tensor = triton.InferInput("signal", signal.shape, "FP32")
        tensor.set_data_from_numpy(signal, binary_data=binary)
        assert client.infer("signal", [tensor]).as_numpy("probabilities").shape == (2, 2)


def test_feature_maps(client):
    names = [o["name"] for o in client.get_model_metadata("tiny.features")["outputs"]]
    outputs = [triton.InferRequestedOutput(name) for name in names]
    result = client.infer("tiny.features", [image_input(BATCH)], outputs=outputs)
    assert result.as_numpy("conv").shape == (3, 4, 16, 16)


@pytest.mark.parametrize("binary", [True, False])
def test_explanations(client, binary):
    classes = np.array([[-1, 0], [-1, 1], [-1, 2]], np.int64)
    stated = triton.InferInput("classes", classes.shape, "INT64")
    stated.set_data_from_numpy(classes, binary_data=binary)
    result = client.infer("seen.explain", [image_input(BATCH), stated])
    assert result.as_numpy("heat_classes").tolist() == [[0, 0], [1, 1], [2, 2]]
    heat = result.as_numpy("heat")
    assert heat.shape == (3, 2, 16, 16)
    np.testing.assert_array_equal(heat[:, 0], heat[:, 1])


@pytest.mark.parametrize("binary", [True, False])
def test_classification(client, binary):
    outputs = [triton.InferRequestedOutput("probabilities", binary, class_count=2)]
    texts = client.infer("tiny", [image_input(BATCH)], outputs=outputs).as_numpy("probabilities")
    assert texts.shape == (3, 2)
    for row, (index, label) in zip(texts, enumerate(LABELS), strict=True):
        text = row[0].decode() if binary else row[0]
        value, best, name = text.split(":")
        assert (int(best), name) == (index, label)
        assert 0 < float(value) <= 1


def test_priority_timeout_and_parameters(client):
    options = {"priority": 2, "timeout": 10_000_000, "parameters": {"mine": "yes", "share": 0.5}}
    assert client.infer("tiny", [image_input(BATCH)], **options).as_numpy("logits") is not None


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client, algorithm):
    result = client.infer(
        "tiny",
        [image_input(BATCH)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert result.as_numpy("probabilities").argmax(axis=1).tolist() == [0, 1, 2]


def test_concurrent_async_infer(client):
    calls = [
        client.async_infer("tiny", [image_input(BATCH)], request_id=str(n)) for n in range(200)
    ]
    results = [call.get_result() for call in calls]
    assert [result.get_response()["id"] for result in results] == [str(n) for n in range(200)]
    for result in results:
        assert result.as_numpy("probabilities").argmax(axis=1).tolist() == [0, 1, 2]


# Errors


def test_unknown_names(client):
    code, message = error_of(client.infer, "cat", [image_input(BATCH)])
    assert (code, "no model 'cat'" in message) == ("404", True)
    assert error_of(client.get_model_metadata, "cat")[0] == "404"
    outputs = [triton.InferRequestedOutput("cats")]
    code, message = error_of(client.infer, "tiny", [image_input(BATCH)], outputs=outputs)
    assert (code, "no output 'cats'" in message) == ("400", True)


def test_wrong_tensors(client):
    floats = triton.InferInput("images", BATCH.shape, "FP32")
    floats.set_data_from_numpy(BATCH.astype(np.float32))
    code, message = error_of(client.infer, "tiny", [floats])
    assert (code, "datatype 'FP32'" in message) == ("400", True)
    small = BATCH[:, :8]
    code, message = error_of(client.infer, "tiny", [image_input(small)])
    assert (code, "[3, 8, 16, 3]" in message) == ("400", True)
    empty = triton.InferInput("images", BATCH.shape, "UINT8")
    code, message = error_of(client.infer, "tiny", [empty])
    assert (code, "neither data nor" in message) == ("400", True)


def test_unsupported_features_are_named(client):
    call = client.infer
    code, message = error_of(call, "tiny", [image_input(BATCH)], sequence_id=5, sequence_start=True)
    assert (code, bool(message)) == ("501", True)
    code, message = error_of(client.load_model, "tiny")
    assert (code, "there is no" in message) == ("404", True)
    assert client.is_server_ready()
