"""Describes the server: its version and its limits."""

from importlib.metadata import PackageNotFoundError, version

from convscope.server.frontend.settings import FrontendSettings
from convscope.server.inference.decoding.image_limits import ImageLimits
from convscope.server.inference.decoding.preprocessor import (
    max_lossless_webp_pixels,
    max_progressive_jpeg_pixels,
)
from convscope.server.inference.handler import InferenceHandler
from convscope.v1 import inference_pb2 as pb

__all__ = ["describe_server"]


def describe_server(
    transport: str,
    settings: FrontendSettings,
    image_limits: ImageLimits,
    handler: InferenceHandler,
) -> pb.GetServerInfoResponse:
    """Return what GetServerInfo returns.

    Args:
        transport: The name of the transport.
        settings: The limits of messages.
        image_limits: The limits of one image.
        handler: Has the limit of a request's inputs.
    """
    reply_limits = settings.reply_limits
    return pb.GetServerInfoResponse(
        version=_version(),
        transport=transport,
        limits=pb.ServerLimits(
            max_request_bytes=settings.max_request_bytes,
            max_reply_bytes=reply_limits.max_bytes,
            max_inputs=handler.max_inputs,
            max_feature_map_bytes=reply_limits.max_feature_map_bytes,
            max_explanations=reply_limits.explanations.max_explanations,
            max_occluded_images=reply_limits.explanations.max_occluded_images,
            image=pb.ImageLimits(
                max_pixels=image_limits.max_pixels,
                max_side=image_limits.max_side,
                max_progressive_jpeg_pixels=max_progressive_jpeg_pixels(image_limits),
                max_lossless_webp_pixels=max_lossless_webp_pixels(image_limits),
            ),
        ),
    )


def _version() -> str:
    try:
        return version("convscope")
    except PackageNotFoundError:  # run from a folder of sources
        return "unknown"
