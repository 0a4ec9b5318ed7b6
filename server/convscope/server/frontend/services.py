"""The gRPC services of the server: those that serve models, and health."""

from typing import cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from convscope.server.frontend.accounting import Accounting
from convscope.server.frontend.classifier.endpoint import ClassifyEndpoint
from convscope.server.frontend.classifier.large_inputs import parse_request
from convscope.server.frontend.classifier.server_info import describe_server
from convscope.server.frontend.classifier.servicer import ClassifierServicer
from convscope.server.frontend.explained_requests import ExplainedRequests
from convscope.server.frontend.open_inference.registration import SERVICE as OPEN_INFERENCE
from convscope.server.frontend.open_inference.registration import add_to_server
from convscope.server.frontend.open_inference.servicer import OpenInferenceServicer
from convscope.server.frontend.reflection import add_reflection
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport.calls import Transport
from convscope.server.inference.decoding.preprocessor import ImageLimits
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
    transport: Transport,
    guarded: Accounting,
    counted: Accounting,
    settings: FrontendSettings,
    image_limits: ImageLimits,
    handler: InferenceHandler,
    metrics: Metrics,
    health_servicer: health.aio.HealthServicer,
) -> None:
    """Add all services to a transport.

    Args:
        transport: The transport.
        guarded: Counts and logs the calls to models, which it rejects while they load.
        counted: Counts and logs the other calls.
        settings: Which services are offered, and the limits of their replies.
        image_limits: The limits of one image, to be described.
        handler: Handles the requests of all of them.
        metrics: Counts what they do.
        health_servicer: Reports what is ready.
    """
    limits = settings.reply_limits
    explained = ExplainedRequests(metrics.explanations)
    guarded.add_group_method(
        CLASSIFIER.full_name,
        "Classify",
        parse_request,
        ClassifyEndpoint(handler.admit, limits, explained),
        handler,
    )
    classifier = ClassifierServicer(  # type: ignore[abstract] # Classify comes in groups
        handler, limits, explained, describe_server(transport.name, settings, image_limits, handler)
    )
    inference_pb2_grpc.add_ClassifierServiceServicer_to_server(
        classifier, cast("grpc.aio.Server", guarded)
    )
    if not settings.no_open_inference:
        open_inference = OpenInferenceServicer(handler, metrics, health_servicer, limits, explained)
        add_to_server(open_inference, handler, guarded, transport)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, cast("grpc.aio.Server", counted))
    if settings.offers_reflection:
        described = [*inference_services(settings), HEALTH]
        add_reflection(described, transport, settings.max_request_bytes)
