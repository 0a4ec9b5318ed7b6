"""Asks a server for its health: `python -m convscope.server.healthcheck [HOST:PORT] [SERVICE]`.

It exits with 0 only if the answer is SERVING, for container health checks.
"""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_SECONDS = 5.0


def check(target: str, service: str = "") -> str:
    """Name the health of a service, such as "SERVING", or why there is no answer."""
    with grpc.insecure_channel(target) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    return name


def main() -> None:
    """Check the server named on the command line."""
    arguments = sys.argv[1:]
    target = arguments[0] if arguments else "127.0.0.1:8001"
    health = check(target, *arguments[1:2])
    print(health)
    sys.exit(health != "SERVING")


if __name__ == "__main__":
    main()
