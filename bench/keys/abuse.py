"""Measure how hostile clients affect the others."""

import sys
from typing import Any

from bench.abuse import CONNECTIONS_PER_SECOND, FRAMES
from bench.bundles import LITE0, repository
from bench.context import Bench
from bench.openloads import Outcome, opened, recording
from bench.photos import pixels_224, tensor_message
from bench.processes import running
from bench.registry import Measured, measurement
from bench.servers import serving

RATE = 20.0
DEADLINE_SECONDS = 5.0


@measurement("abuse_p99_ratio")
def abuse(bench: Bench) -> Measured:
    """Measure the p99 while another client floods the server, relative to no flood."""
    message = tensor_message(LITE0, pixels_224(), (224, 224, 3))
    seconds = bench.seconds(4.0)
    outcomes: dict[str, list[dict[str, Any]]] = {"quiet": [], "flooded": []}
    flags = ("--transport", "http2")
    with serving(repository(bench, LITE0), *flags, tuning_cache=bench.tuning_cache) as server:

        def called() -> Outcome:
            return opened(
                server,
                message,
                bench.scratch,
                rate=RATE,
                seconds=seconds,
                deadline_seconds=DEADLINE_SECONDS,
            )

        def flooded() -> Outcome:
            attack = [sys.executable, "-m", "bench.abuse", server.target, str(seconds + 10.0)]
            with running(attack):
                return called()

        samples = bench.interleave(
            quiet=recording(outcomes["quiet"], called, Outcome.p99_ms),
            flooded=recording(outcomes["flooded"], flooded, Outcome.p99_ms),
        )
    return Measured(
        {"abuse_p99_ratio": samples.ratio("flooded", "quiet")},
        {
            "p99_ms": samples.details(),
            **outcomes,
            "rate": RATE,
            "attacks_per_second": CONNECTIONS_PER_SECOND,
            "frames": FRAMES,
        },
    )
