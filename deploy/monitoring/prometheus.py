"""Prometheus itself, as a process on a free port."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 30


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now; give the series of the answer."""
        data = urllib.parse.urlencode({"query": expression}).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/query", data, timeout=10) as reply:
            result: list[dict[str, Any]] = json.load(reply)["data"]["result"]
        return result


@contextmanager
def running_prometheus(binary: Path, config: Path, data: Path) -> Iterator[Prometheus]:
    """Run Prometheus for the duration of a with block."""
    address = f"127.0.0.1:{_free_port()}"
    command = [
        str(binary),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address={address}",
    ]
    with (data.parent / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_until_ready(f"http://{address}", process)
            yield Prometheus(f"http://{address}")
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def unpack_debian_prometheus(target: Path) -> None:
    """Bring Debian's package without installing it, which would start its service."""
    work = target.with_suffix(".tmp")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    download = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "prometheus"]
    if subprocess.run(download, cwd=work, check=False).returncode != 0:
        subprocess.run(["apt-get", "update"], check=True)
        subprocess.run(download, cwd=work, check=True)
    (package,) = work.glob("prometheus_*.deb")
    subprocess.run(["dpkg-deb", "--extract", package, work], check=True)
    package.unlink()
    work.rename(target)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(START_SECONDS * 10):
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=1):
                return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    raise RuntimeError(f"Prometheus isn't ready at {url}; it said why in prometheus.log")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
