"""Tests of `convscope web` with KServe's REST client; run in an environment that contains it.

CONVSCOPE_TARGET is the URL of a web process in front of a server of the models "tiny" and
"signal".
"""

import asyncio
import base64
import io
import os

import httpx
import numpy as np
import pytest
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from PIL import Image

URL = os.environ["CONVSCOPE_TARGET"]
RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)
BATCH = np.stack([np.full((16, 16, 3), color, np.uint8) for color in (RED, GREEN, BLUE)])


def ask(call):
    """Make a call with a new client."""

    async def run():
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        try:
            return await call(client)
        finally:
            await client.close()

    return asyncio.run(run())


def infer(*inputs, model="tiny", **options):
    request = InferRequest(model_name=model, infer_inputs=list(inputs), **options)
    return ask(lambda client: client.infer(URL, request, model_name=model))


def pixels(batch=BATCH, datatype="UINT8", binary=True):
    tensor = InferInput("images", list(batch.shape), datatype)
    tensor.set_data_from_numpy(batch, binary_data=binary)
    return tensor


def png(color):
    out = io.BytesIO()
    Image.new("RGB", (60, 40), color).save(out, "PNG")
    return out.getvalue()


def classes(response):
    (output,) = (o for o in response.outputs if o.name == "probabilities")
    return output.as_numpy().argmax(axis=1).tolist()


def test_the_server_and_its_models_are_ready():
    assert ask(lambda client: client.is_server_live(URL))
    assert ask(lambda client: client.is_server_ready(URL))
    assert ask(lambda client: client.is_model_ready(URL, "tiny"))


def test_an_unknown_model_is_not_found():
    assert not ask(lambda client: client.is_model_ready(URL, "cat"))
    with pytest.raises(httpx.HTTPStatusError) as caught:
        infer(pixels(), model="cat")
    assert caught.value.response.status_code == 404
    assert "no model 'cat'" in str(caught.value)


@pytest.mark.parametrize("binary", [True, False])
def test_pixels(binary):
    response = infer(pixels(binary=binary), request_id="77")
    assert (response.id, response.model_name) == ("77", "tiny")
    assert [output.name for output in response.outputs] == ["logits", "probabilities"]
    assert classes(response) == [0, 1, 2]


def test_binary_outputs():
    response = infer(pixels(), parameters={"binary_data_output": True})
    assert classes(response) == [0, 1, 2]


def test_encoded_images_as_bytes():
    tensor = InferInput("images", [2], "BYTES")
    images = np.array([png(color) for color in (BLUE, RED)], dtype=np.object_)
    tensor.set_data_from_numpy(images, binary_data=True)
    assert classes(infer(tensor)) == [2, 0]


def test_encoded_images_as_base64():
    texts = [base64.b64encode(png(color)).decode() for color in (BLUE, RED)]
    assert classes(infer(InferInput("images", [2], "BYTES", data=texts))) == [2, 0]


def test_requested_output():
    response = infer(pixels(), request_outputs=[RequestedOutput("probabilities")])
    assert [output.name for output in response.outputs] == ["probabilities"]


def test_feature_maps():
    response = infer(pixels(), model="tiny.features")
    assert [(o.name, o.as_numpy().shape) for o in response.outputs] == [("conv", (3, 4, 16, 16))]


def test_signals():
    signal = np.random.default_rng(0).normal(size=(2, 1, 32)).astype(np.float32)
    tensor = InferInput("signal", [2, 1, 32], "FP32", data=signal.ravel().tolist())
    response = infer(tensor, model="signal")
    assert response.outputs[1].as_numpy().shape == (2, 2)


def test_wrong_datatype_is_rejected_and_the_server_stays_ready():
    with pytest.raises(httpx.HTTPStatusError) as caught:
        infer(pixels(BATCH.astype(np.float32), "FP32"))
    assert caught.value.response.status_code == 400
    assert "datatype 'FP32'" in str(caught.value)
    assert ask(lambda client: client.is_server_ready(URL))
