"""Requests for every method of every service: random, almost valid, and damaged."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from convscope.open_inference import open_inference_pb2 as oip
from convscope.v1 import admin_pb2, inference_pb2
from support.calls import image_request, signal_request
from support.fuzz.protobuf import fill, mutate
from support.fuzz.values import damage_bytes
from support.images import encode, picture
from support.oip import SERVICE as OPEN_INFERENCE
from support.oip import image_bytes_request, raw_request, signal_tensor_request

__all__ = ["ADMIN", "SERVICES", "Call", "Calls"]

SERVICES: Sequence[ServiceDescriptor] = (
    inference_pb2.DESCRIPTOR.services_by_name["ClassifierService"],
    OPEN_INFERENCE,
    health_pb2.DESCRIPTOR.services_by_name["Health"],
    reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
)
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]

_MODELS = ("tiny", "signal", "tiny@champion", "none")
# What the fields of the messages may be called with, so that requests get further.
_WORDS: Mapping[str, Sequence[Any]] = {
    "model": _MODELS,
    "model_name": _MODELS,
    "name": ("tiny", "signal", "images", "conv", "logits", "probabilities", "heat", "none"),
    "service": ("", "tiny", "convscope.v1.ClassifierService", "none"),
    "version": (1, 2, 0, -1, 2**63 - 1),
    "model_version": ("", "1", "2", "champion", "-1", "1.0"),
    "alias": ("champion", "challenger", "1"),
    "datatype": ("UINT8", "FP32", "BYTES", "INT64", "BOOL", "FP16", "none"),
    "shape": (0, 1, 2, 3, 4, 16, 32, -1, 2**31, 2**62),
    "top_k": (0, 1, 2, 3, -1),
    "encoded_image": (encode(picture()), b""),
    "file_containing_symbol": ("grpc.health.v1.Health", "tiny"),
    "label": ("red", "green", "none"),
}
_MAX_MESSAGES = 5


class Call(NamedTuple):
    """A call with encoded messages.

    Args:
        method: The method.
        messages: One, or for a streaming method several.
    """

    method: MethodDescriptor
    messages: list[bytes]

    @property
    def path(self) -> str:
        """The HTTP/2 path of the method."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


class Calls:
    """Makes calls of some services.

    Args:
        services: The services.
    """

    def __init__(self, *services: ServiceDescriptor) -> None:
        self._methods = [method for service in services for method in service.methods]
        self._valid = _valid_requests()

    def __call__(self, random: Random) -> Call:
        """Return a call."""
        method = random.choice(self._methods)
        count = random.randrange(_MAX_MESSAGES + 1) if method.client_streaming else 1
        return Call(method, [self._message(method, random) for _ in range(count)])

    def _message(self, method: MethodDescriptor, random: Random) -> bytes:
        kind = message_factory.GetMessageClass(method.input_type)
        valid = self._valid.get(method.input_type.full_name)
        message = kind()
        if valid is not None and random.random() < 0.7:
            message.CopyFrom(random.choice(valid))
            mutate(message, random, _WORDS)
        else:
            fill(message, random, _WORDS)
        data = message.SerializeToString()
        return damage_bytes(data, random) if random.random() < 0.2 else data


def _valid_requests() -> Mapping[str, Sequence[Message]]:
    """Return valid requests by the name of their type."""
    selections = [inference_pb2.FeatureMapSelection(name="conv", strongest=2)]
    explanations = [inference_pb2.ExplanationSelection()]
    classify = [
        image_request(),
        image_request(encode(picture()), encode(picture(40, 20), "JPEG")),
        image_request(feature_maps=selections, top_k=1),
        image_request(explanations=explanations),
        signal_request(2),
    ]
    infer = [
        raw_request(outputs=["logits", "conv"], parameters={"priority": 1}),
        image_bytes_request(encode(picture())),
        image_bytes_request(encode(picture()), typed=True),
        signal_tensor_request(),
    ]
    return {
        "convscope.v1.ClassifyRequest": classify,
        "convscope.v1.ClassifyStreamRequest": [
            inference_pb2.ClassifyStreamRequest(request=request) for request in classify
        ],
        oip.ModelInferRequest.DESCRIPTOR.full_name: infer,
        "convscope.v1.SetTrialRequest": [
            admin_pb2.SetTrialRequest(
                model="tiny",
                kind=admin_pb2.TRIAL_KIND_CANARY,
                trial=admin_pb2.Trial(version=1, share=0.5),
            )
        ],
    }
