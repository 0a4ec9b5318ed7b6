"""Measure how hostile clients affect the others."""

import sys
from typing import Any

from bench.abuse import CONNECTIONS_PER_SECOND, FRAMES
from bench.bundles import LITE0, repository
from bench.context import Bench
from bench.errors import BenchError
from bench.openloads import opened
from bench.photos import pixels_224, tensor_message
from bench.processes import running
from bench.registry import Measured, measurement
from bench.servers import Server, serving

RATE = 20.0
DEADLINE_SECONDS = 5.0


@measurement("abuse_p99_ratio")
def abuse(bench: Bench) -> Measured:
    """Measure the p99 while another client floods the server, relative to no flood."""
    message = tensor_message(LITE0, pixels_224(), (224, 224, 3))
    seconds = bench.seconds(10.0)

    def called(server: Server) -> dict[str, Any]:
        answer = opened(
            server,
            message,
            bench.scratch,
            rate=RATE,
            seconds=seconds,
            deadline_seconds=DEADLINE_SECONDS,
        )
        if answer["p99_seconds"] is None:
            raise BenchError(f"no call succeeded: {answer['codes']}")
        return answer

    flags = ("--transport", "http2")
    with serving(repository(bench, LITE0), *flags, tuning_cache=bench.tuning_cache) as server:
        quiet = called(server)
        attack = [sys.executable, "-m", "bench.abuse", server.target, str(seconds + 10.0)]
        with running(attack):
            flooded = called(server)
    return Measured(
        {"abuse_p99_ratio": flooded["p99_seconds"] / quiet["p99_seconds"]},
        {
            "quiet": quiet,
            "flooded": flooded,
            "rate": RATE,
            "attacks_per_second": CONNECTIONS_PER_SECOND,
            "frames": FRAMES,
        },
    )
