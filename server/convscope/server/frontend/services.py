"""The gRPC services of the server: those that serve models, and health."""

from typing import cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from convscope.server.frontend.accounting import Accounting
from convscope.server.frontend.classifier.servicer import ClassifierServicer
from convscope.server.frontend.encoding import ReplyEncoder
from convscope.server.frontend.health import StartupGate
from convscope.server.frontend.open_inference.registration import SERVICE as OPEN_INFERENCE
from convscope.server.frontend.open_inference.registration import add_to_server
from convscope.server.frontend.open_inference.servicer import OpenInferenceServicer
from convscope.server.frontend.reflection import add_reflection
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.inference.handler import InferenceHandler
from convscope.server.observability.metrics import Metrics
from convscope.v1 import inference_pb2, inference_pb2_grpc

__all__ = ["add_services", "inference_services"]

CLASSIFIER = inference_pb2.DESCRIPTOR.services_by_name["ClassifierService"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]


def inference_services(settings: FrontendSettings) -> list[ServiceDescriptor]:
    """Return the services that serve models."""
    return [CLASSIFIER] if settings.no_open_inference else [CLASSIFIER, OPEN_INFERENCE]


def add_services(
    server: grpc.aio.Server,
    accounting: Accounting,
    settings: FrontendSettings,
    handler: InferenceHandler,
    encoder: ReplyEncoder,
    metrics: Metrics,
    health_servicer: health.aio.HealthServicer,
) -> StartupGate:
    """Add all services to a server.

    Args:
        server: The server.
        accounting: Counts and logs the calls on their way to the services.
        settings: Which services are offered, and the limits of their replies.
        handler: Handles the requests of all of them.
        encoder: Encodes their large replies.
        metrics: Counts what they do.
        health_servicer: Reports what is ready.

    Returns:
        The gate that rejects calls to models until it is opened.
    """
    counted = cast("grpc.aio.Server", accounting)  # for the functions that add a servicer
    gate = StartupGate(counted)
    guarded = cast("grpc.aio.Server", gate)
    limits = settings.reply_limits
    inference_pb2_grpc.add_ClassifierServiceServicer_to_server(
        ClassifierServicer(handler, limits, encoder), guarded
    )
    if not settings.no_open_inference:
        open_inference = OpenInferenceServicer(handler, metrics, health_servicer, limits, encoder)
        add_to_server(open_inference, guarded, server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, counted)
    if not settings.no_reflection:
        add_reflection([*inference_services(settings), HEALTH], server)
    return gate
