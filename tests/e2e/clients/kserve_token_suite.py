"""Tests of a server that asks for a token with KServe's clients, over gRPC and over HTTP.

CONVSCOPE_TARGET is the address of the server, CONVSCOPE_HTTP_TARGET the URL of the web process,
and CONVSCOPE_TOKEN a valid token.
"""

import asyncio
import os

import grpc
import httpx
import numpy as np
import pytest
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)

TARGET, URL = os.environ["CONVSCOPE_TARGET"], os.environ["CONVSCOPE_HTTP_TARGET"]
BEARER = f"Bearer {os.environ['CONVSCOPE_TOKEN']}"
RED = np.full((1, 16, 16, 3), (220, 20, 20), np.uint8)


def request():
    tensor = InferInput("images", list(RED.shape), "UINT8")
    tensor.set_data_from_numpy(RED, binary_data=True)
    return InferRequest(model_name="tiny", infer_inputs=[tensor])


def over_grpc(authorization):
    async def run():
        headers = (("authorization", authorization),) if authorization else None
        async with InferenceGRPCClient(TARGET) as client:
            return await client.infer(request(), headers=headers)

    return asyncio.run(run())


def over_http(authorization):
    async def run():
        headers = {"authorization": authorization} if authorization else None
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        try:
            return await client.infer(URL, request(), model_name="tiny", headers=headers)
        finally:
            await client.close()

    return asyncio.run(run())


@pytest.mark.parametrize("infer", [over_grpc, over_http])
def test_the_token_is_sent_as_a_header(infer):
    (output,) = (each for each in infer(BEARER).outputs if each.name == "probabilities")
    assert output.as_numpy().argmax() == 0


@pytest.mark.parametrize("authorization", [None, "Bearer wrong"])
def test_other_callers_are_rejected(authorization):
    with pytest.raises(grpc.RpcError) as rejected:
        over_grpc(authorization)
    assert rejected.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(httpx.HTTPStatusError) as failed:
        over_http(authorization)
    assert failed.value.response.status_code == 401
