"""Tests of a convscope-server with KServe's client; run in an environment that contains it.

CONVSCOPE_TARGET is the address of a server of the models "tiny" and "signal".
"""

import asyncio
import io
import os
from collections.abc import Awaitable, Callable

import grpc
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput
from PIL import Image

TARGET = os.environ["CONVSCOPE_TARGET"]
RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)
BATCH = np.stack([np.full((16, 16, 3), color, np.uint8) for color in (RED, GREEN, BLUE)])


def ask(call: Callable[[InferenceGRPCClient], Awaitable[object]]):
    """Make a call with a new client."""

    async def run():
        async with InferenceGRPCClient(TARGET) as client:
            return await call(client)

    return asyncio.run(run())


def request(*inputs, model="tiny", **options):
    return InferRequest(model_name=model, infer_inputs=list(inputs), **options)


def raw_input(batch=BATCH, datatype="UINT8"):
    tensor = InferInput("images", list(batch.shape), datatype)
    tensor.set_data_from_numpy(batch, binary_data=True)
    return tensor


def typed_input(batch=BATCH):
    return InferInput("images", list(batch.shape), "UINT8", data=batch.ravel().tolist())


def png(color):
    out = io.BytesIO()
    Image.new("RGB", (60, 40), color).save(out, "PNG")
    return out.getvalue()


def classes(response):
    (output,) = (o for o in response.outputs if o.name == "probabilities")
    return output.as_numpy().argmax(axis=1).tolist()


def test_server_is_live():
    assert ask(lambda client: client.is_server_live())


def test_server_is_ready():
    assert ask(lambda client: client.is_server_ready())


def test_model_is_ready():
    assert ask(lambda client: client.is_model_ready("tiny"))


def test_unknown_model_is_not_found():
    with pytest.raises(grpc.RpcError) as caught:
        ask(lambda client: client.is_model_ready("cat"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("tensor", [raw_input, typed_input], ids=["raw", "typed"])
def test_pixels(tensor):
    response = ask(lambda client: client.infer(request(tensor(), request_id="77")))
    assert (response.id, response.model_name, response.model_version) == ("77", "tiny", "1")
    assert [output.name for output in response.outputs] == ["logits", "probabilities"]
    assert classes(response) == [0, 1, 2]


@pytest.mark.parametrize("binary", [True, False], ids=["raw", "typed"])
def test_encoded_images(binary):
    images = [png(color) for color in (BLUE, RED)]
    tensor = InferInput("images", [2], "BYTES", data=None if binary else images)
    if binary:
        tensor.set_data_from_numpy(np.array(images, dtype=np.object_), binary_data=True)
    assert classes(ask(lambda client: client.infer(request(tensor)))) == [2, 0]


def test_requested_output():
    outputs = [RequestedOutput("probabilities")]
    response = ask(lambda client: client.infer(request(raw_input(), request_outputs=outputs)))
    assert [output.name for output in response.outputs] == ["probabilities"]


def test_feature_maps():
    response = ask(lambda client: client.infer(request(raw_input(), model="tiny.features")))
    assert [(o.name, o.as_numpy().shape) for o in response.outputs] == [("conv", (3, 4, 16, 16))]


def test_parameters():
    parameters = {"priority": 2, "mine": "yes"}
    response = ask(lambda client: client.infer(request(raw_input(), parameters=parameters)))
    assert classes(response) == [0, 1, 2]


def test_wrong_datatype_is_rejected_and_the_server_stays_ready():
    floats = raw_input(BATCH.astype(np.float32), "FP32")
    with pytest.raises(grpc.RpcError) as caught:
        ask(lambda client: client.infer(request(floats)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "datatype 'FP32'" in caught.value.details()
    assert ask(lambda client: client.is_server_ready())
