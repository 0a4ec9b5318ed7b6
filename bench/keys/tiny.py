"""Measure the server itself, with networks that take almost no time."""

from operator import attrgetter

from bench.bundles import repository
from bench.context import Bench
from bench.empty_server import CALL, RECEIVE, empty_server
from bench.glance import GLANCE, SHAPE, glance
from bench.loads import closed_loop, grpc_request
from bench.photos import digit, pixels_224, tensor_message
from bench.registry import Measured, measurement
from bench.sampling import Sample, Samples
from bench.servers import Server, serving

IN_FLIGHT = 64
TENSORS_IN_FLIGHT = 16
PAIRS = 5


@measurement("tiny_vs_empty_rpc")
def tiny_vs_empty_rpc(bench: Bench) -> Measured:
    """Measure digits calls per second, relative to an empty method, one process each."""
    return _tiny(bench, "tiny_vs_empty_rpc")


@measurement("tiny_on_grpc_aio")
def tiny_on_grpc_aio(bench: Bench) -> Measured:
    """Measure the same on the fallback transport."""
    return _tiny(bench, "tiny_on_grpc_aio", "--transport", "grpc-aio")


@measurement("tensor_cpu_us")
def tensor_cpu_us(bench: Bench) -> Measured:
    """Measure the server's CPU per call with a large tensor, relative to an empty method.

    The network looks at 16 of the pixels. Its CPU time is a part of the figure. The empty method
    receives the same bytes and does not parse them.
    """
    message = tensor_message(GLANCE, pixels_224(), SHAPE)
    with serving(glance(bench), "--transport", "http2", tuning_cache=bench.tuning_cache) as server:
        samples = _with_empty(bench, server, message, RECEIVE, message, TENSORS_IN_FLIGHT)
    return Measured(
        {"tensor_cpu_us": samples.ratio("ours", "empty", attrgetter("cpu_us"))}, samples.details()
    )


def _tiny(bench: Bench, key: str, *flags: str) -> Measured:
    message = tensor_message("digits", digit(), (28, 28, 1))
    models = repository(bench, "digits")
    with serving(models, *flags, tuning_cache=bench.tuning_cache) as server:
        samples = _with_empty(bench, server, message, CALL, b"", IN_FLIGHT)
    return Measured({key: samples.ratio("ours", "empty")}, samples.details())


def _with_empty(
    bench: Bench, server: Server, message: bytes, method: str, empty_message: bytes, in_flight: int
) -> Samples:
    """Measure calls per second of the server and of an empty method alternately."""
    seconds = bench.seconds(1.5)

    def ours() -> Sample:
        return server.saturate(message, bench.scratch, in_flight=in_flight, seconds=seconds).rate()

    with empty_server() as (process, target):
        request = grpc_request(target, method, empty_message)

        def empty() -> Sample:
            return closed_loop(
                request,
                bench.scratch,
                server=[process.pid],
                in_flight=in_flight,
                seconds=seconds,
            ).rate()

        return bench.interleave(PAIRS, ours=ours, empty=empty)
