"""Some requests, right and wrong, so that every metric has something to tell."""

import contextlib

import grpc
import numpy as np
from support.tiny import SIGNAL_LENGTH

from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc
from convscope.v1.manifest_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_UINT8

TIMEOUT_SECONDS = 30


def send_traffic(channel: grpc.Channel) -> None:
    """Ask both models, in batches and with feature maps, and make two mistakes."""
    stub = inference_pb2_grpc.ClassifierServiceStub(channel)
    photo = pb.Input(pixels=_tensor(np.full((40, 30, 3), 90, np.uint8)))
    signal = pb.Input(tensor=_tensor(np.zeros((1, SIGNAL_LENGTH), np.float32)))
    maps = [pb.FeatureMapSelection(name="conv")]
    right = (
        pb.ClassifyRequest(model="tiny", inputs=[photo]),
        pb.ClassifyRequest(model="tiny", inputs=[photo] * 5, feature_maps=maps),
        pb.ClassifyRequest(model="signal", inputs=[signal]),
    )
    for request in right:
        stub.Classify(request, timeout=TIMEOUT_SECONDS)
    wrong = (
        pb.ClassifyRequest(model="tiny", inputs=[pb.Input(encoded_image=b"text")]),
        pb.ClassifyRequest(model="no-such-model", inputs=[photo]),
    )
    for request in wrong:
        with contextlib.suppress(grpc.RpcError):
            stub.Classify(request, timeout=TIMEOUT_SECONDS)


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> pb.Tensor:
    dtype = DATA_TYPE_UINT8 if array.dtype == np.uint8 else DATA_TYPE_FLOAT32
    return pb.Tensor(dtype=dtype, shape=array.shape, data=array.tobytes())
