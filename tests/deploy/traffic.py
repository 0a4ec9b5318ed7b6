"""Valid and invalid requests, so that every metric has samples."""

import json
from pathlib import Path

import grpc
import numpy as np
from support.alterations import flip_byte
from support.calls import rejection
from support.explained import write_explained
from support.tiny import SIGNAL_LENGTH, write_signal, write_tiny

from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc
from convscope.v1.manifest_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_UINT8

TIMEOUT_SECONDS = 30


def write_mixed_repository(root: Path) -> None:
    """Write two versions of a model, an alias, traffic splits, another model and a bad bundle.

    The second version has explanations.
    """
    write_tiny(root, version=1)
    write_explained(root, version=2)
    (root / "tiny" / "aliases.json").write_text(json.dumps({"champion": 1}))
    splits = {"canary": {"to": 1, "share": 0.2}, "shadow": {"to": "champion", "share": 1}}
    (root / "tiny" / "traffic.json").write_text(json.dumps(splits))
    write_signal(root)
    flip_byte(write_tiny(root, "broken") / "model.onnx", 9)


def send_traffic(channel: grpc.Channel, *, alias: str | None = None) -> None:
    """Send requests to both models, in batches and with feature maps, and two invalid ones.

    Args:
        channel: The channel to the server.
        alias: An alias of "tiny" that gets a request too, if the server has the mixed repository.
            Its second version then explains classes.
    """
    stub = inference_pb2_grpc.ClassifierServiceStub(channel)
    photo = pb.Input(pixels=_tensor(np.full((40, 30, 3), 90, np.uint8)))
    signal = pb.Input(tensor=_tensor(np.zeros((1, SIGNAL_LENGTH), np.float32)))
    maps = [pb.FeatureMapSelection(name="conv")]
    right = [
        pb.ClassifyRequest(model="tiny", inputs=[photo]),
        pb.ClassifyRequest(model="tiny", inputs=[photo] * 5, feature_maps=maps),
        pb.ClassifyRequest(model="signal", inputs=[signal]),
    ]
    if alias is not None:
        right.append(pb.ClassifyRequest(model="tiny", alias=alias, inputs=[photo]))
        occlusion = pb.ExplanationSelection(method=pb.EXPLANATION_METHOD_OCCLUSION)
        for selection in (pb.ExplanationSelection(), occlusion):
            explained = pb.ClassifyRequest(model="tiny", version=2, inputs=[photo])
            explained.explanations.append(selection)
            right.append(explained)
    for request in right:
        stub.Classify(request, timeout=TIMEOUT_SECONDS)
    text = pb.ClassifyRequest(model="tiny", inputs=[pb.Input(encoded_image=b"text")])
    unknown = pb.ClassifyRequest(model="no-such-model", inputs=[photo])
    assert rejection(stub.Classify, text)[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert rejection(stub.Classify, unknown)[0] is grpc.StatusCode.NOT_FOUND


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> pb.Tensor:
    dtype = DATA_TYPE_UINT8 if array.dtype == np.uint8 else DATA_TYPE_FLOAT32
    return pb.Tensor(dtype=dtype, shape=array.shape, data=array.tobytes())
