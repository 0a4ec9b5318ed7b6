"""The health check of gRPC, grpc.health.v1.

Its messages have one field each, so they are encoded here. The package that generates them,
grpcio-health-checking, would be one more dependency of every client.
"""

from typing import Any

import grpc

from convscope.client._connection.wire import field_header
from convscope.client._results.server_info import Health

__all__ = ["health_check", "health_request"]

_CHECK = "/grpc.health.v1.Health/Check"
_SERVICE, _STATUS_KEY = 1, b"\x08"
_STATUS = {1: Health.SERVING, 2: Health.NOT_SERVING}


def health_check(channel: grpc.Channel | grpc.aio.Channel) -> Any:
    """Return the method that checks the health of a service, whose name is the request."""
    return channel.unary_unary(_CHECK, health_request, _parse)


def health_request(service: str) -> bytes:
    """Serialize a HealthCheckRequest."""
    name = service.encode()
    return field_header(_SERVICE, len(name)) + name


def _parse(reply: bytes) -> Health:
    """Parse a HealthCheckResponse: an enum, which is omitted if it is 0."""
    status = reply[1] if reply[:1] == _STATUS_KEY and len(reply) > 1 else 0
    return _STATUS.get(status, Health.UNKNOWN)
