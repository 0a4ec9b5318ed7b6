"""One empty method on grpc.aio and uvloop: the upper bound of a Python gRPC server.

Usage: python -m bench.empty_server PORT
"""

import sys

import grpc
import uvloop
from google.protobuf import empty_pb2

METHOD = "bench.Empty/Call"


async def call(
    request: empty_pb2.Empty,
    context: "grpc.aio.ServicerContext[empty_pb2.Empty, empty_pb2.Empty]",
) -> empty_pb2.Empty:
    """Return an empty message."""
    return empty_pb2.Empty()


async def serve(port: int) -> None:
    """Serve until killed."""
    service, _, method = METHOD.partition("/")
    handler = grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=empty_pb2.Empty.FromString,
        response_serializer=empty_pb2.Empty.SerializeToString,
    )
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("serving", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
