"""What a server reports of itself: its health, its version and its limits."""

from dataclasses import dataclass
from enum import StrEnum

import grpc

from convscope.client.errors import ConvscopeError
from convscope.v1 import inference_pb2 as pb

__all__ = ["Health", "ServerInfo", "ServerLimits", "decode_server_info", "info_of_older_server"]

_MIB = 2**20


class Health(StrEnum):
    """Whether a server, or one of its models, accepts requests. Only `SERVING` is true.

    Example:
        >>> bool(Health.SERVING), bool(Health.NOT_SERVING)
        (True, False)
    """

    SERVING = "serving"
    NOT_SERVING = "not serving"
    UNKNOWN = "unknown"

    def __bool__(self) -> bool:
        return self is Health.SERVING


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """The limits of a server. The defaults are those of a server without flags.

    Args:
        max_request_bytes: Bytes of one request.
        max_reply_bytes: Bytes of one reply.
        max_inputs: Images of one request.
        max_feature_map_bytes: Bytes of the feature maps of one reply.
        max_explanations: Explanations of one request; each of its images gets as many.
        max_occluded_images: Occluded images of one request; 0 for no occlusion.
        max_image_pixels: Pixels of one image.
        max_image_side: Pixels of an image's longer edge.
        max_progressive_jpeg_pixels: Pixels of a progressive JPEG in RGB. Those with subsampled
            colors may have more.
        max_lossless_webp_pixels: Pixels of a WebP that is lossless or has transparent pixels.

    Example:
        >>> ServerLimits().max_inputs
        64
    """

    max_request_bytes: int = 8 * _MIB
    max_reply_bytes: int = 32 * _MIB
    max_inputs: int = 64
    max_feature_map_bytes: int = 16 * _MIB
    max_explanations: int = 8
    max_occluded_images: int = 256
    max_image_pixels: int = 16_000_000
    max_image_side: int = 8192
    max_progressive_jpeg_pixels: int = 13_333_333
    max_lossless_webp_pixels: int = 7_200_000


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server is.

    Args:
        version: Its version, such as "0.1.0"; None if it is too old to report one.
        transport: What serves gRPC: "http2", "grpc-aio", or "in-process" behind Ray Serve; None if
            it isn't reported.
        limits: Its limits; the defaults if they aren't reported.

    Example:
        >>> client.server_info().limits.max_inputs
        64
    """

    version: str | None = None
    transport: str | None = None
    limits: ServerLimits = ServerLimits()


def decode_server_info(response: pb.GetServerInfoResponse) -> ServerInfo:
    """Return the description of a server."""
    limits, image = response.limits, response.limits.image
    return ServerInfo(
        response.version,
        response.transport,
        ServerLimits(
            max_request_bytes=limits.max_request_bytes,
            max_reply_bytes=limits.max_reply_bytes,
            max_inputs=limits.max_inputs,
            max_feature_map_bytes=limits.max_feature_map_bytes,
            max_explanations=limits.max_explanations,
            max_occluded_images=limits.max_occluded_images,
            max_image_pixels=image.max_pixels,
            max_image_side=image.max_side,
            max_progressive_jpeg_pixels=image.max_progressive_jpeg_pixels,
            max_lossless_webp_pixels=image.max_lossless_webp_pixels,
        ),
    )


def info_of_older_server(error: ConvscopeError) -> ServerInfo:
    """Return what is known of a server without the method GetServerInfo.

    Raises:
        ConvscopeError: The call failed for another reason.
    """
    if error.code is not grpc.StatusCode.UNIMPLEMENTED:
        raise error
    return ServerInfo()
