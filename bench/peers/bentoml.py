"""BentoML."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.loads import Request
from bench.peers.base import APPS, Peer, Running, Work, environment
from bench.peers.http import answers, multipart, post
from bench.processes import free_port, running, wait_for

__all__ = ["BENTOML"]

START_SECONDS = 90.0


@contextmanager
def start(python: Path, directory: Path) -> Iterator[Running]:
    """Run the service."""
    port = free_port()
    command = [
        *(str(python.parent / "bentoml"), "serve", "bentoml_app:Bench"),
        *("--working-dir", str(APPS), "--host", "127.0.0.1", "--port", str(port)),
    ]
    variables = {
        **environment(),
        "BENTOML_HOME": str(directory),
        "BENTOML_DO_NOT_TRACK": "True",
    }

    def request(work: Work) -> Request:
        return multipart(f"http://127.0.0.1:{port}/{work.name}", work.data(), image=not work.shape)

    with running(command, cwd=directory, env=variables) as process:
        wait_for(
            process,
            "BentoML",
            lambda: answers(f"http://127.0.0.1:{port}/readyz"),
            seconds=START_SECONDS,
            step=0.2,
        )
        yield Running(request, lambda work: list(post(request(work))["classes"]), [process.pid])


BENTOML = Peer(
    "bentoml",
    "bentoml",
    "HTTP, multipart upload, JSON reply",
    "one worker per core with one thread",
    start,
)
