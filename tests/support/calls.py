"""Raw calls of a running server with the generated stubs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc
from convscope.v1 import manifest_pb2 as mpb
from support.forked import run
from support.images import encode, picture
from support.server import ServerProcess
from support.tiny import SIGNAL_LENGTH

TIMEOUT_SECONDS = 30.0
WAIT_SECONDS = 30.0
SHORTEST_PAUSE, LONGEST_PAUSE = 0.002, 0.03
LOOPBACK = ("--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0")


@contextmanager
def connected(server: ServerProcess) -> Iterator[inference_pb2_grpc.ClassifierServiceStub]:
    """Connect to a running server and return the stub."""
    with grpc.insecure_channel(server.target) as channel:
        yield inference_pb2_grpc.ClassifierServiceStub(channel)


def image_request(*images: bytes, model: str = "tiny", **options: Any) -> pb.ClassifyRequest:
    """Make a request with encoded images. The default is one valid picture."""
    inputs = [pb.Input(encoded_image=image) for image in images or (encode(picture()),)]
    return pb.ClassifyRequest(model=model, inputs=inputs, **options)


def signal_request(count: int = 1, model: str = "signal") -> pb.ClassifyRequest:
    """Make a request with signals of zeros."""
    tensor = pb.Tensor(
        dtype=mpb.DATA_TYPE_FLOAT32, shape=[1, SIGNAL_LENGTH], data=bytes(4 * SIGNAL_LENGTH)
    )
    return pb.ClassifyRequest(model=model, inputs=[pb.Input(tensor=tensor)] * count)


def rejection(
    call: Callable[..., Any], request: Any, **options: Any
) -> tuple[grpc.StatusCode, str]:
    """Return the code and the message with which a call fails."""
    error = refused(call, request, **options)
    return error.code(), error.details() or ""


def refused(call: Callable[..., Any], request: Any, **options: Any) -> Any:
    """Return the error of a call that must fail."""
    try:
        reply = call(request, **({"timeout": TIMEOUT_SECONDS} | options))
    except grpc.RpcError as error:
        return error
    raise LookupError(f"the call succeeded: {reply}")


def health(server: ServerProcess, service: str = "") -> str:
    """Return the name of a service's health status."""
    with grpc.insecure_channel(server.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        reply = stub.Check(request, timeout=TIMEOUT_SECONDS)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    return name


def sample(server: ServerProcess, name: str, **labels: str) -> float:
    """Sum the samples of a metric with these labels."""
    # Only these lines are parsed: tests ask again and again.
    lines = [line for line in server.metrics().splitlines() if line.startswith(name)]
    return sum(
        sample.value
        for family in text_string_to_metric_families("\n".join(lines))
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: The condition doesn't hold within WAIT_SECONDS.
    """
    end, pause = time.monotonic() + WAIT_SECONDS, SHORTEST_PAUSE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"the condition did not hold within {WAIT_SECONDS:g} s")
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def run_to_end(*arguments: str | Path) -> tuple[int, str, str]:
    """Start a server that ends by itself; return its exit code, stdout and stderr."""
    done = run("server", list(map(str, arguments)))
    return done.returncode, done.stdout, done.stderr
