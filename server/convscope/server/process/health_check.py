"""Check the health of a server; exit with 0 only if it is SERVING.

For container health checks:

    python -m convscope.server.process.health_check [HOST:PORT] [SERVICE]
"""

import argparse
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_SECONDS = 5.0
# A container may have a proxy in its environment; the server is beside this process.
OPTIONS = [("grpc.enable_http_proxy", 0)]


def check(target: str, service: str = "", root_certificates: bytes | None = None) -> str:
    """Return the health of a service, such as "SERVING", or the error of the call."""
    with _channel(target, root_certificates) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    return name


def _channel(target: str, root_certificates: bytes | None) -> grpc.Channel:
    if root_certificates is None:
        return grpc.insecure_channel(target, OPTIONS)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(root_certificates), OPTIONS)


def main() -> None:
    """Check the server named on the command line."""
    parser = argparse.ArgumentParser(description="Exit with 0 only if a server is SERVING.")
    parser.add_argument("target", nargs="?", default="127.0.0.1:8001", metavar="HOST:PORT")
    parser.add_argument("service", nargs="?", default="", help="a model; by default all of them")
    parser.add_argument("--root-certificates", type=Path, help="PEM file, if the server has TLS")
    options = parser.parse_args()
    roots: Path | None = options.root_certificates
    health = check(options.target, options.service, roots.read_bytes() if roots else None)
    print(health)
    sys.exit(health != "SERVING")


if __name__ == "__main__":
    main()
