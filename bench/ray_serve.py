"""What a call costs behind Ray Serve, compared with the server itself: CPU time by process.

Run it in the environment that scripts/ray.sh makes. Rates depend on what else runs on the
machine; the CPU time of a call hardly does. What is used without calls is measured too.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.context import BASE
from bench.cpu import TICKS, family, tree_seconds
from bench.processes import free_port
from bench.scaling.ray_server import ENVIRONMENT
from bench.servers import serving
from convscope.client import Client

os.environ |= ENVIRONMENT

import ray
from ray import serve

from deploy.ray.app import build
from deploy.ray.servicers import SERVICERS

MIB = 2**20
NAME = "convscope"
CALLERS = 16
IDLE_SECONDS = 5.0
IMAGE = np.zeros((28, 28), np.uint8)
# As the replicas: nothing is measured at load, one core, no log line for each call.
FLAGS = ("--no-tuning", "--cores", "1", "--no-access-log", "--no-open-inference")
# What Ray calls its processes.
PARTS = {
    "ray::ProxyActor": "proxy",
    "ray::ServeReplica": "replicas",
    "ray::ServeController": "controller",
}
REST = "the rest of Ray"

Seconds = Mapping[str, float]


def main() -> None:
    """Measure the server, then Ray with some numbers of replicas."""
    arguments = _parse()
    models, calls = arguments.models.resolve(), arguments.calls
    print(f"{calls} calls for {arguments.model} from {CALLERS} threads")
    with (
        TemporaryDirectory() as scratch,
        serving(models, *FLAGS, tuning_cache=Path(scratch) / "tuning.json") as server,
        Client(server.target, model=arguments.model) as client,
    ):
        pid = server.process.pid
        _measure("the server", client, calls, lambda: {"the process": tree_seconds(pid)})
    with _ray(max(arguments.replicas)) as target:
        for number in arguments.replicas:
            application = build({"models": str(models), "replicas": number})
            serve.run(application, name=NAME, route_prefix=f"/{NAME}")
            with Client(target, model=arguments.model) as client:
                client.wait_ready()
                _measure(f"Ray, replicas: {number}", client, calls, _seconds_of_parts)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.ray_serve", description=__doc__)
    parser.add_argument("--models", type=Path, default=BASE, help="the repository")
    parser.add_argument("--model", default="digits", help="a model for gray images of 28 x 28")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2])
    return parser.parse_args()


def _measure(what: str, client: Client, calls: int, read: Callable[[], Seconds]) -> None:
    """Make calls, and print what one of them costs."""
    with ThreadPoolExecutor(CALLERS) as pool:

        def call(count: int) -> None:
            list(pool.map(lambda _: client.classify(IMAGE), range(count)))

        call(max(CALLERS, calls // 10))
        idle = read()
        time.sleep(IDLE_SECONDS)
        before, started_at = read(), time.perf_counter()
        call(calls)
        seconds, after = time.perf_counter() - started_at, read()
    used = {name: 1e6 * (after[name] - before[name]) / calls for name in after}
    print(f"{what}: {sum(used.values()):.0f} µs of CPU per call, {calls / seconds:.0f} calls/s")
    for name, each in used.items():
        resting = (before[name] - idle[name]) / IDLE_SECONDS
        print(f"  {name}: {each:.0f} µs; without calls {resting:.1%} of a core")


@contextmanager
def _ray(replicas: int) -> Iterator[str]:
    """Run Ray with a proxy on this machine, and yield the proxy's address."""
    ray.init(
        num_cpus=replicas,
        object_store_memory=100 * MIB,
        include_dashboard=False,
        log_to_driver=False,
    )
    try:
        port = free_port()
        serve.start(
            http_options={"host": "127.0.0.1", "port": free_port()},
            grpc_options={"port": port, "grpc_servicer_functions": list(SERVICERS)},
        )
        yield f"127.0.0.1:{port}"
        serve.shutdown()
    finally:
        ray.shutdown()


def _seconds_of_parts() -> Seconds:
    """Return the CPU time of Ray's processes, by what they are."""
    seconds = dict.fromkeys([*PARTS.values(), REST], 0.0)
    for pid in family(os.getpid())[1:]:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        name = next((part for start, part in PARTS.items() if command.startswith(start)), REST)
        seconds[name] += sum(int(each) for each in fields[11:13]) / TICKS
    return seconds


if __name__ == "__main__":
    main()
