"""A real S3 server on a free port, as a process."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import fsspec  # type: ignore[import-untyped]

# The server ends when its stdin closes, so it never outlives the tests.
_PROGRAM = """
import sys
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
BUCKET = "bucket"
KEY = "testing"


class S3Server:
    """A running S3 server with one bucket."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self._endpoint = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.system: Any = fsspec.filesystem(
            "s3", key=KEY, secret=KEY, endpoint_url=self._endpoint, skip_instance_cache=True
        )
        self.system.mkdir(BUCKET)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables with which botocore, and thus s3fs, finds the server."""
        return {
            "AWS_ENDPOINT_URL": self._endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",  # retries would take seconds when it is gone
            "NO_PROXY": "127.0.0.1",
        }

    def stop(self) -> None:
        """Stop the server. Its address then refuses connections."""
        self._process.communicate()

    def pause(self) -> None:
        """Let the server accept connections, and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._process.send_signal(signal.SIGCONT)

    def put(self, bundle: Path, url: str) -> None:
        """Upload a bundle below a URL as convscope-exporter does, with the manifest last."""
        for path in sorted(bundle.iterdir(), key=lambda path: path.name == "manifest.json"):
            place = f"{url}/{bundle.parent.name}/{bundle.name}/{path.name}"
            self.system.pipe_file(place, path.read_bytes())

    def export(self, *arguments: str | Path) -> str:
        """Run convscope-exporter against the server and return its output.

        Raises:
            RuntimeError: The command failed.
        """
        done = subprocess.run(
            [sys.executable, "-m", "convscope.exporter", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=os.environ | self.environment,
        )
        if done.returncode:
            raise RuntimeError(f"convscope-exporter ended with {done.returncode}: {done.stderr}")
        return done.stdout
