"""Single calls of the service, to inspect a reply."""

import grpc

from convscope.v1 import inference_pb2, inference_pb2_grpc

__all__ = ["classify", "feature_map_bytes"]


def classify(target: str, message: bytes) -> inference_pb2.ClassifyResponse:
    """Make one call with a serialized ClassifyRequest."""
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(target, options=options) as channel:
        stub = inference_pb2_grpc.ClassifierServiceStub(channel)
        return stub.Classify(inference_pb2.ClassifyRequest.FromString(message), timeout=60)


def feature_map_bytes(target: str, message: bytes) -> int:
    """Make one call and count the bytes of the feature maps in its reply."""
    (result,) = classify(target, message).results
    return sum(len(m.tensor.data) for m in result.prediction.feature_maps)
