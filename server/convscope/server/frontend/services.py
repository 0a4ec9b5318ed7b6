"""The gRPC services of the server: its doors, and health beside them."""

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from convscope.server.config.settings import Settings
from convscope.server.frontend.classifier.servicer import ClassifierServicer
from convscope.server.frontend.open_inference.registration import SERVICE as OPEN_INFERENCE
from convscope.server.frontend.open_inference.registration import add_to_server
from convscope.server.frontend.open_inference.servicer import OpenInferenceServicer
from convscope.server.frontend.reply_limits import ReplyLimits
from convscope.server.inference.handler import InferenceHandler
from convscope.server.observability.metrics import Metrics
from convscope.v1 import inference_pb2, inference_pb2_grpc

__all__ = ["add_services", "doors"]

CLASSIFIER = inference_pb2.DESCRIPTOR.services_by_name["ClassifierService"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
_REPLY_BYTES_BESIDE_MAPS = 64 * 1024


def doors(settings: Settings) -> list[ServiceDescriptor]:
    """Give the services that answer for models."""
    return [CLASSIFIER] if settings.no_open_inference else [CLASSIFIER, OPEN_INFERENCE]


def add_services(
    settings: Settings,
    handler: InferenceHandler,
    metrics: Metrics,
    health_servicer: health.aio.HealthServicer,
    interceptor: grpc.aio.Server,
    server: grpc.aio.Server,
) -> list[ServiceDescriptor]:
    """Add the doors and health to a server.

    Args:
        settings: Which doors there are, and their limits.
        dispatch: What all of them hand their requests to.
        metrics: Hears what they do.
        health_servicer: Knows what is ready.
        interceptor: Where they are added, to be counted and logged.
        server: The server behind it.

    Returns:
        The services that were added.
    """
    # The rest of a reply is for the classes.
    most_map_bytes = max(0, settings.max_reply_bytes - _REPLY_BYTES_BESIDE_MAPS)
    limits = ReplyLimits(
        settings.max_reply_bytes, min(settings.max_feature_map_bytes, most_map_bytes)
    )
    servicer = ClassifierServicer(handler, limits)
    inference_pb2_grpc.add_ClassifierServiceServicer_to_server(servicer, interceptor)
    if not settings.no_open_inference:
        open_inference = OpenInferenceServicer(handler, metrics, health_servicer, limits)
        add_to_server(open_inference, interceptor, server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, interceptor)
    return [*doors(settings), HEALTH]
