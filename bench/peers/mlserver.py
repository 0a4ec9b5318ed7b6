"""MLServer with a custom runtime."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench.parsing import parse_metrics
from bench.peers.base import WORKS, Peer, Running, Work, environment
from bench.peers.oip import infer_message, infer_request, infer_top, is_ready
from bench.processes import free_port, running, wait_for
from bench.reference import cores

__all__ = ["MLSERVER"]

START_SECONDS = 90.0


@contextmanager
def start(python: Path, directory: Path) -> Iterator[Running]:
    """Run mlserver on directories of model settings.

    The tiny network is fastest in the server's own process, and the others are fastest in parallel
    workers. Two servers therefore run, so that each network has its fastest setting.
    """
    groups = {0: ["tiny"], cores(): [work for work in WORKS if work != "tiny"]}
    with ExitStack() as stack:
        target_of: dict[str, str] = {}
        metrics: list[int] = []
        pids: list[int] = []
        for workers, works in groups.items():
            ports = {kind: free_port() for kind in ("http", "grpc", "metrics")}
            place = directory / str(workers)
            _write_settings(place, works, workers, ports)
            command = [str(python.parent / "mlserver"), "start", str(place)]
            process = stack.enter_context(running(command, cwd=place, env=environment()))
            target = f"127.0.0.1:{ports['grpc']}"
            ready = partial(is_ready, target)
            wait_for(process, "MLServer", ready, seconds=START_SECONDS, step=0.2)
            metrics.append(ports["metrics"])
            pids.append(process.pid)
            target_of.update(dict.fromkeys(works, target))
        yield Running(
            lambda work: infer_request(target_of[work.name], _message(work)),
            lambda work: infer_top(target_of[work.name], _message(work)),
            pids,
            lambda: sum(map(_successes, metrics)),
        )


def _write_settings(place: Path, works: list[str], workers: int, ports: dict[str, int]) -> None:
    place.mkdir()
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        **{f"{kind}_port": port for kind, port in ports.items()},
        "parallel_workers": workers,
        "grpc_max_message_length": 64 * 2**20,
    }
    (place / "settings.json").write_text(json.dumps(settings))
    for work in works:
        (place / work).mkdir()
        setting = {"name": work, "implementation": "mlserver_runtime.BenchRuntime"}
        (place / work / "model-settings.json").write_text(json.dumps(setting))


def _message(work: Work) -> bytes:
    # MLServer unpacks a UINT8 tensor into a list of Python integers, which takes longer than the
    # network. One BYTES element is its fastest input.
    return infer_message(work, as_bytes=True)


def _successes(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        samples = parse_metrics(reply.read().decode())
    return sum(v for (n, _), v in samples.items() if n == "model_infer_request_success_total")


MLSERVER = Peer(
    "mlserver",
    "mlserver",
    "gRPC, Open Inference Protocol, bytes contents",
    "custom runtime, one parallel worker per core with one thread; tiny without workers",
    start,
    # Its workers use an API of uvloop that 0.22 removed.
    ("onnxruntime", "numpy", "Pillow", "uvloop<0.22"),
)
