"""Tests of a convscope-server with Triton's client; run in an environment that contains it.

CONVSCOPE_TARGET is the address of a server of the models "tiny", "signal" and "seen", which
is "tiny" with explanations.
"""

import asyncio
import io
import os
import queue

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from PIL import Image
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

TARGET = os.environ["CONVSCOPE_TARGET"]
LABELS = ("red", "green", "blue")
SECONDS = 30


@pytest.fixture(scope="module")
def client():
    with triton.InferenceServerClient(TARGET) as client:
        yield client


def plain(color, count=1):
    """Make pictures of one color, uint8 [count, 16, 16, 3]."""
    return np.broadcast_to(np.array(color, np.uint8), (count, 16, 16, 3)).copy()


RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)
BATCH = np.concatenate([plain(color) for color in (RED, GREEN, BLUE)])


def image_input(batch):
    tensor = triton.InferInput("images", batch.shape, "UINT8")
    return tensor.set_data_from_numpy(batch)


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


def test_metadata(client):
    server = client.get_server_metadata()
    assert server.name == "convscope"
    assert "statistics" in server.extensions
    model = client.get_model_metadata("tiny", as_json=True)
    assert model["versions"] == ["1"]
    assert model["inputs"] == [
        {"name": "images", "datatype": "UINT8", "shape": ["-1", "16", "16", "3"]}
    ]
    assert [output["name"] for output in model["outputs"]] == ["logits", "probabilities"]


def test_config_names_the_tensors_of_the_metadata(client):
    config = client.get_model_config("tiny").config
    metadata = client.get_model_metadata("tiny")
    assert config.max_batch_size == 64
    assert [i.name for i in config.input] == [i.name for i in metadata.inputs]
    assert [list(i.dims) for i in config.input] == [list(i.shape)[1:] for i in metadata.inputs]
    assert [o.name for o in config.output] == [o.name for o in metadata.outputs]
    assert config.input[0].data_type == 2  # TYPE_UINT8
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"


def test_index(client):
    index = client.get_model_repository_index()
    assert {(m.name, m.version, m.state) for m in index.models} == {
        ("signal", "1", "READY"),
        ("tiny", "1", "READY"),
        ("tiny.features", "1", "READY"),
        ("seen", "1", "READY"),
        ("seen.features", "1", "READY"),
        ("seen.explain", "1", "READY"),
    }


def test_explanations(client):
    """Some clients send every input that the metadata lists, and request every output."""
    metadata = client.get_model_metadata("seen.explain")
    classes = np.array([[-1, 0], [-1, 1], [-1, 2]], np.int64)
    stated = triton.InferInput("classes", classes.shape, "INT64").set_data_from_numpy(classes)
    assert [i.name for i in metadata.inputs] == ["images", "classes"]
    outputs = [triton.InferRequestedOutput(output.name) for output in metadata.outputs]
    result = client.infer("seen.explain", [image_input(BATCH), stated], outputs=outputs)
    found = result.as_numpy("heat_classes")
    assert found.tolist() == [[0, 0], [1, 1], [2, 2]]
    heat = result.as_numpy("heat")
    assert heat.shape == (3, 2, 16, 16)
    np.testing.assert_array_equal(heat[:, 0], heat[:, 1])
    assert heat.min(axis=(1, 2, 3)).max() > 0


def test_statistics_grow_with_requests(client):
    def read():
        (found,) = client.get_inference_statistics("tiny").model_stats
        return found

    before = read()
    client.infer("tiny", [image_input(BATCH)])
    after = read()
    assert after.inference_count == before.inference_count + 3
    assert after.execution_count > before.execution_count
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1
    assert after.inference_stats.queue.count > before.inference_stats.queue.count
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert after.version == "1"
    assert len(client.get_inference_statistics().model_stats) == 3


# Inference


def test_raw_tensors(client):
    result = client.infer("tiny", [image_input(BATCH)], request_id="77")
    response = result.get_response()
    assert (response.id, response.model_version) == ("77", "1")
    probabilities = result.as_numpy("probabilities")
    assert probabilities.argmax(axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert result.as_numpy("logits").shape == (3, 3)


def test_requested_outputs(client):
    outputs = [triton.InferRequestedOutput("probabilities")]
    result = client.infer("tiny", [image_input(BATCH)], outputs=outputs, model_version="1")
    assert result.as_numpy("probabilities").shape == (3, 3)
    assert result.as_numpy("logits") is None


def test_encoded_images(client):
    elements = np.array([png(color) for color in (BLUE, RED)], dtype=np.object_)
    tensor = triton.InferInput("images", elements.shape, "BYTES")
    tensor.set_data_from_numpy(elements)
    result = client.infer("tiny", [tensor])
    assert result.as_numpy("probabilities").argmax(axis=1).tolist() == [2, 0]


def test_signals(client):
    signal = np.random.default_rng(0).normal(size=(2, 1, 32)).astype(np.float32)
    tensor = triton.InferInput("signal", signal.shape, "FP32")
    tensor.set_data_from_numpy(signal)
    assert client.infer("signal", [tensor]).as_numpy("probabilities").shape == (2, 2)


def test_feature_maps(client):
    names = [o.name for o in client.get_model_metadata("tiny.features").outputs]
    outputs = [triton.InferRequestedOutput(name) for name in names]
    result = client.infer("tiny.features", [image_input(BATCH)], outputs=outputs)
    assert result.as_numpy("conv").shape == (3, 4, 16, 16)


def test_classification(client):
    outputs = [triton.InferRequestedOutput("probabilities", class_count=2)]
    texts = client.infer("tiny", [image_input(BATCH)], outputs=outputs).as_numpy("probabilities")
    assert texts.shape == (3, 2)
    for row, (index, label) in zip(texts, enumerate(LABELS), strict=True):
        value, best, name = row[0].decode().split(":")
        assert (int(best), name) == (index, label)
        assert 0 < float(value) <= 1


def test_priority_timeout_and_parameters(client):
    options = {"priority": 2, "timeout": 10_000_000, "parameters": {"mine": "yes"}}
    assert client.infer("tiny", [image_input(BATCH)], **options).as_numpy("logits") is not None


def test_async_infer(client):
    results = queue.Queue()
    for _ in range(10):
        client.async_infer(
            "tiny",
            [image_input(BATCH)],
            callback=lambda result, error: results.put((result, error)),
        )
    for _ in range(10):
        result, error = results.get(timeout=SECONDS)
        assert error is None
        assert result.as_numpy("probabilities").shape == (3, 3)


def test_typed_contents():
    request = service_pb2.ModelInferRequest(model_name="tiny")
    tensor = request.inputs.add(name="images", datatype="UINT8", shape=BATCH.shape)
    tensor.contents.uint_contents.extend(BATCH.ravel().tolist())
    with grpc.insecure_channel(TARGET) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        response = stub.ModelInfer(request, timeout=SECONDS)
    result = triton.InferResult(response)
    assert result.as_numpy("probabilities").argmax(axis=1).tolist() == [0, 1, 2]


def test_aio():
    async def ask():
        async with triton_aio.InferenceServerClient(TARGET) as client:
            assert await client.is_server_ready()
            assert (await client.get_model_metadata("tiny")).name == "tiny"
            results = await asyncio.gather(
                *(client.infer("tiny", [image_input(BATCH)], request_id=str(n)) for n in range(20))
            )
            with pytest.raises(InferenceServerException) as caught:
                await client.infer("cat", [image_input(BATCH)])
            return results, caught.value

    results, error = asyncio.run(ask())
    assert [result.get_response().id for result in results] == [str(n) for n in range(20)]
    assert error.status() == "StatusCode.NOT_FOUND"


# Streams


def test_stream(client):
    results = queue.Queue()
    client.start_stream(callback=lambda result, error: results.put((result, error)))
    try:
        for n in range(10):
            client.async_stream_infer(
                "cat" if n == 4 else "tiny",
                [image_input(BATCH)],
                request_id=str(n),
                enable_empty_final_response=True,
            )
        replies = [results.get(timeout=SECONDS) for _ in range(10)]
    finally:
        client.stop_stream()
    for n, (result, error) in enumerate(replies):
        if n == 4:
            assert "no model 'cat'" in error.message()
            continue
        response = result.get_response()
        assert (error, response.id) == (None, str(n))
        assert response.parameters["triton_final_response"].bool_param


def test_aio_stream():
    async def ask():
        async def requests():
            for n in range(5):
                yield {
                    "model_name": "tiny",
                    "inputs": [image_input(BATCH)],
                    "request_id": str(n),
                }

        async with triton_aio.InferenceServerClient(TARGET) as client:
            return [reply async for reply in client.stream_infer(requests())]

    replies = asyncio.run(ask())
    assert [result.get_response().id for result, error in replies if error is None] == list("01234")


# Errors


def test_unknown_names(client):
    assert error_of(client.infer, "cat", [image_input(BATCH)])[0] == "StatusCode.NOT_FOUND"
    assert error_of(client.is_model_ready, "cat")[0] == "StatusCode.NOT_FOUND"
    outputs = [triton.InferRequestedOutput("cats")]
    code, message = error_of(client.infer, "tiny", [image_input(BATCH)], outputs=outputs)
    assert (code, "no output 'cats'" in message) == ("StatusCode.INVALID_ARGUMENT", True)


def test_wrong_tensors(client):
    floats = triton.InferInput("images", BATCH.shape, "FP32")
    floats.set_data_from_numpy(BATCH.astype(np.float32))
    code, message = error_of(client.infer, "tiny", [floats])
    assert (code, "datatype 'FP32'" in message) == ("StatusCode.INVALID_ARGUMENT", True)
    small = BATCH[:, :8]
    code, message = error_of(client.infer, "tiny", [image_input(small)])
    assert (code, "[3, 8, 16, 3]" in message) == ("StatusCode.INVALID_ARGUMENT", True)
    empty = triton.InferInput("images", BATCH.shape, "UINT8")
    code, message = error_of(client.infer, "tiny", [empty])
    assert (code, "no data" in message) == ("StatusCode.INVALID_ARGUMENT", True)


def test_unsupported_methods_are_unimplemented(client):
    for call in (
        lambda: client.load_model("tiny"),
        lambda: client.unload_model("tiny"),
        lambda: client.get_system_shared_memory_status(),
        lambda: client.register_system_shared_memory("mine", "/mine", 64),
        lambda: client.get_cuda_shared_memory_status(),
        lambda: client.get_trace_settings(),
        lambda: client.get_log_settings(),
        lambda: client.infer("tiny", [image_input(BATCH)], sequence_id=5, sequence_start=True),
    ):
        code, message = error_of(call)
        assert (code, bool(message)) == ("StatusCode.UNIMPLEMENTED", True)
    assert client.is_server_ready()
