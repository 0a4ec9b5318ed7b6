"""Measure the bytes that grow with a fleet: requests, logs, metrics, bundles."""

import time
import urllib.request

from bench.bundles import LITE0, bundle, repository
from bench.context import Bench
from bench.errors import BenchError
from bench.loads import counted
from bench.parsing import parse_metrics
from bench.photos import SIZES, image_message, jpeg
from bench.registry import Measured
from bench.scaling.replicas import LOADS
from bench.servers import serving

__all__ = ["sizes"]

CALLS = 400
IN_FLIGHT = 16
# The log is written by a thread of its own.
LOG_SECONDS = 1.0


def sizes(bench: Bench) -> Measured:
    """Measure what a server with EfficientNet-Lite0 writes, and the sizes of requests."""
    load, calls = LOADS["tensor"], bench.count(CALLS)
    with serving(repository(bench, LITE0), tuning_cache=bench.tuning_cache) as server:
        before = server.process.output_bytes()
        answered = counted(
            server.request(load.message()), bench.scratch, in_flight=IN_FLIGHT, calls=calls
        )
        if answered.succeeded != calls:
            raise BenchError(f"only {answered.succeeded} of {calls} calls succeeded")
        time.sleep(LOG_SECONDS)
        logged = server.process.output_bytes() - before
        with urllib.request.urlopen(server.metrics_url, timeout=10) as reply:
            metrics: bytes = reply.read()
    requests = {name: len(each.message()) for name, each in LOADS.items() if name != "jpeg"}
    requests |= {f"jpeg {size}": len(image_message(LITE0, jpeg(size))) for size in SIZES}
    files = bundle(bench, LITE0).iterdir()
    return Measured(
        {},
        {
            "requests": requests,
            "log_per_call": logged / calls,
            "series": len(parse_metrics(metrics.decode())),
            "scrape": len(metrics),
            "bundle": sum(path.stat().st_size for path in files),
        },
    )
