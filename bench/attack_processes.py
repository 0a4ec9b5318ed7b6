"""Attack the metrics listener and kill workers under load, and print what others notice.

`python -m bench.attack_processes [--checkout PATH] [metrics] [workers]`

Everything stays on loopback, and is bounded: 1,000 idle connections, 8 slow readers, three
killed workers. `--checkout` measures the server of another checkout, such as an earlier one.
"""

import argparse
import itertools
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from convscope.client import Client, ConvscopeError, Tensor

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("proto", "bundle", "client", "server")
IDLE, SCRAPES, KILLS, CALLERS = 1000, 20, 3, 4
# Longer than a worker may live for its end to be an early one.
SETTLE_SECONDS = 11.0


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkout", type=Path, default=ROOT)
    parser.add_argument("parts", nargs="*", choices=["metrics", "workers", []])
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    os.environ["PYTHONPATH"] = os.pathsep.join(str(arguments.checkout / room) for room in ROOMS)
    for part in arguments.parts or ("metrics", "workers"):
        {"metrics": _attack_metrics, "workers": _kill_workers}[part]()


@contextmanager
def _serving(*flags: str) -> Iterator[Any]:
    from support.server import FRESH, ServerProcess
    from support.tiny import write_tiny

    with tempfile.TemporaryDirectory() as folder:
        write_tiny(Path(folder))
        with ServerProcess(folder, *flags, command=FRESH) as server:
            yield server


def _attack_metrics() -> None:
    with _serving() as server, ExitStack() as stack:
        port = int(server.metrics_url.rpartition(":")[2].partition("/")[0])
        print(f"scrapes, quiet: {_scrapes(server)}, {_threads(server.process.pid)} threads")
        for _ in range(IDLE):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            one.sendall(b"GET /metrics HTTP/1.1\r\n")  # half a request
        print(
            f"scrapes, {IDLE:,} idle connections: {_scrapes(server)}, "
            f"{_threads(server.process.pid)} threads"
        )


def _scrapes(server: Any) -> str:
    seconds = []
    for _ in range(SCRAPES):
        started_at = time.perf_counter()
        server.metrics()
        seconds.append(time.perf_counter() - started_at)
    middle, longest = sorted(seconds)[SCRAPES // 2], max(seconds)
    return f"median {1000 * middle:.1f} ms, longest {1000 * longest:.1f} ms"


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def _kill_workers() -> None:
    with _serving("--workers", "2") as server, _load(server) as (counts, errors):
        for _ in range(KILLS):
            time.sleep(SETTLE_SECONDS)
            replaced = _events(server, "worker replaced")
            started_at = time.perf_counter()
            os.kill(_a_worker(server), signal.SIGKILL)
            while len(_events(server, "worker replaced")) == len(replaced):
                time.sleep(0.01)
            print(f"worker killed: replaced after {time.perf_counter() - started_at:.2f} s")
        time.sleep(1.5)
    drops = sum(after < before for before, after in itertools.pairwise(counts))
    print(f"{counts[-1]:,.0f} calls: the counter dropped {drops} times, {len(errors)} errors")


@contextmanager
def _load(server: Any) -> Iterator[tuple[list[float], list[str]]]:
    """Classify and scrape all the time; yield what was scraped and the errors."""
    from support.calls import image_request
    from support.tiny import reference_preprocess

    pixels = Tensor(reference_preprocess(image_request().inputs[0].encoded_image))
    counts: list[float] = [0.0]
    errors: list[str] = []
    stop = threading.Event()

    def classify() -> None:
        with Client(server.target) as client:
            while not stop.is_set():
                try:
                    client.classify(pixels, model="tiny")
                except ConvscopeError as error:
                    errors.append(error.message)

    def scrape() -> None:
        while not stop.wait(0.05):
            found = re.search(r"^convscope_requests_total\{.*\} (\S+)", server.metrics(), re.M)
            counts.append(float(found[1]) if found else 0.0)

    threads = [threading.Thread(target=each) for each in (*[classify] * CALLERS, scrape)]
    for thread in threads:
        thread.start()
    try:
        yield counts, errors
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _events(server: Any, name: str) -> list[dict[str, Any]]:
    return [line for line in server.log if line["event"] == name]


def _a_worker(server: Any) -> int:
    ended = {line["pid"] for line in _events(server, "worker ended")}
    (serving,) = _events(server, "serving")
    started = [*serving["workers"], *(line["pid"] for line in _events(server, "worker replaced"))]
    return int(next(pid for pid in started if pid not in ended))


if __name__ == "__main__":
    main()
