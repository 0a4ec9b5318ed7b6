"""Empty methods on grpc.aio and uvloop: the upper bound of a server with grpc.aio.

Usage: python -m bench.empty_server PORT
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import uvloop
from google.protobuf import empty_pb2

from bench.processes import Process, free_port, running, wait_for

CALL = "bench.Empty/Call"
RECEIVE = "bench.Empty/Receive"
START_SECONDS = 20.0


async def call(
    request: empty_pb2.Empty,
    context: "grpc.aio.ServicerContext[empty_pb2.Empty, empty_pb2.Empty]",
) -> empty_pb2.Empty:
    """Return an empty message."""
    return empty_pb2.Empty()


async def receive(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
    """Receive bytes without parsing them, and return an empty message."""
    return b""


@contextmanager
def empty_server() -> Iterator[tuple[Process, str]]:
    """Run the server for the duration of a with block; return its process and HOST:PORT."""
    port = free_port()
    with running([sys.executable, "-m", "bench.empty_server", str(port)]) as process:
        wait_for(
            process,
            "the empty server",
            lambda: "serving" in process.first_lines(),
            seconds=START_SECONDS,
        )
        yield process, f"127.0.0.1:{port}"


async def serve(port: int) -> None:
    """Serve until killed."""
    handlers = {
        "Call": grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=empty_pb2.Empty.FromString,
            response_serializer=empty_pb2.Empty.SerializeToString,
        ),
        "Receive": grpc.unary_unary_rpc_method_handler(receive),
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Empty", handlers),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("serving", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
