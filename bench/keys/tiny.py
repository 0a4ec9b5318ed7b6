"""Measure the server itself with a network that takes almost no time."""

import sys

from bench.bundles import repository
from bench.context import Bench, interleave, ratio
from bench.empty_server import METHOD
from bench.loads import closed_loop, grpc_request
from bench.photos import digit, tensor_message
from bench.processes import free_port, running, wait_for
from bench.registry import Measured, measurement
from bench.servers import serving

IN_FLIGHT = 64


@measurement("tiny_vs_empty_rpc")
def tiny_vs_empty_rpc(bench: Bench) -> Measured:
    """Measure digits calls per second, relative to an empty method, one process each."""
    message = tensor_message("digits", digit(), (28, 28, 1))
    seconds, port = bench.seconds(4.0), free_port()
    empty_request = grpc_request(f"127.0.0.1:{port}", METHOD, b"")
    command = [sys.executable, "-m", "bench.empty_server", str(port)]
    with (
        serving(repository(bench, "digits"), tuning_cache=bench.tuning_cache) as server,
        running(command) as empty,
    ):
        wait_for(empty, "the empty server", lambda: "serving" in empty.first_lines(), seconds=20)
        samples = interleave(
            bench.repetitions,
            digits=lambda: (
                server.saturate(
                    message, bench.scratch, in_flight=IN_FLIGHT, seconds=seconds
                ).per_second
            ),
            empty=lambda: (
                closed_loop(
                    empty_request, bench.scratch, in_flight=IN_FLIGHT, seconds=seconds
                ).per_second
            ),
        )
    return Measured(
        {"tiny_vs_empty_rpc": ratio(samples, "digits", "empty")}, {"calls_per_second": samples}
    )
