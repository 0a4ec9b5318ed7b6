"""Tests of a server that asks for a token with Triton's clients, over gRPC and over HTTP.

CONVSCOPE_TARGET and CONVSCOPE_HTTP_TARGET are the addresses, CONVSCOPE_TOKEN a valid token.
"""

import os

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

TARGETS = {"grpc": os.environ["CONVSCOPE_TARGET"], "http": os.environ["CONVSCOPE_HTTP_TARGET"]}
MODULES = {"grpc": triton, "http": triton_http}
HEADERS = {"authorization": f"Bearer {os.environ['CONVSCOPE_TOKEN']}"}
RED = np.broadcast_to(np.array((220, 20, 20), np.uint8), (1, 16, 16, 3)).copy()


@pytest.fixture(params=["grpc", "http"])
def protocol(request):
    return request.param


@pytest.fixture
def client(protocol):
    with MODULES[protocol].InferenceServerClient(TARGETS[protocol]) as client:
        yield client


def inputs(protocol):
    tensor = MODULES[protocol].InferInput("images", RED.shape, "UINT8")
    tensor.set_data_from_numpy(RED)
    return [tensor]


def test_the_token_is_sent_as_a_header(client, protocol):
    assert client.is_model_ready("tiny", headers=HEADERS)
    assert client.get_model_metadata("tiny", headers=HEADERS)
    result = client.infer("tiny", inputs(protocol), headers=HEADERS)
    assert result.as_numpy("probabilities").argmax() == 0


@pytest.mark.parametrize("headers", [None, {"authorization": "Bearer wrong"}])
def test_other_callers_are_rejected(client, protocol, headers):
    for call in (
        lambda: client.infer("tiny", inputs(protocol), headers=headers),
        lambda: client.get_model_metadata("tiny", headers=headers),
    ):
        with pytest.raises(InferenceServerException) as caught:
            call()
        expected = "StatusCode.UNAUTHENTICATED" if protocol == "grpc" else "401"
        assert caught.value.status() == expected
