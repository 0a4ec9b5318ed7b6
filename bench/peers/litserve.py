"""LitServe."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.loads import Request
from bench.peers.base import APPS, Peer, Running, Work, environment
from bench.peers.http import answers, multipart, post
from bench.processes import free_port, running, wait_for

__all__ = ["LITSERVE"]

START_SECONDS = 90.0


@contextmanager
def start(python: Path, directory: Path) -> Iterator[Running]:
    """Run the app."""
    port = free_port()
    command = [str(python), str(APPS / "litserve_app.py"), str(port)]

    def request(work: Work) -> Request:
        return multipart(f"http://127.0.0.1:{port}/{work.name}", work.data(), image=not work.shape)

    with running(command, cwd=directory, env=environment()) as process:
        wait_for(
            process,
            "LitServe",
            lambda: answers(f"http://127.0.0.1:{port}/health"),
            seconds=START_SECONDS,
            step=0.2,
        )
        yield Running(request, lambda work: list(post(request(work))["classes"]), [process.pid])


LITSERVE = Peer(
    "litserve",
    "litserve",
    "HTTP, multipart upload, JSON reply",
    "one worker per core with one thread, fast_queue",
    start,
    ("onnxruntime", "numpy", "Pillow", "python-multipart"),
)
