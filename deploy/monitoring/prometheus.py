"""Run Prometheus as a process on a free port, for the tests and the picture."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Prometheus", "ToolsError", "find_tools", "running_prometheus"]

_CACHE = Path(__file__).resolve().parents[2] / ".cache" / "prometheus"
_START_SECONDS = 30
# Ignores proxies from the environment.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ToolsError(Exception):
    """Prometheus is neither installed nor can it be fetched."""


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now and return the series of the result."""
        result: list[dict[str, Any]] = self._ask("query", query=expression)["result"]
        return result

    def query_range(
        self, expression: str, start: float, end: float, step: float
    ) -> list[dict[str, Any]]:
        """Evaluate an expression every `step` seconds between two Unix times."""
        times = {"start": str(start), "end": str(end), "step": str(step)}
        result: list[dict[str, Any]] = self._ask("query_range", query=expression, **times)["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with its health and, for an alerting rule, its active alerts."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def exemplars(self, expression: str, start: float, end: float) -> list[dict[str, Any]]:
        """Return the exemplars of an expression's series between two Unix times."""
        times = {"start": str(start), "end": str(end)}
        found: list[dict[str, Any]] = self._ask("query_exemplars", query=expression, **times)
        return [exemplar for series in found for exemplar in series["exemplars"]]

    def _ask(self, what: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with _OPENER.open(f"{self.url}/api/v1/{what}?{query}", timeout=10) as reply:
            return json.load(reply)["data"]


@contextmanager
def running_prometheus(binary: Path, config: Path, data: Path) -> Iterator[Prometheus]:
    """Run Prometheus for the duration of a with block. It logs to a file next to its data."""
    address = f"127.0.0.1:{_free_port()}"
    command = [
        str(binary),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
    ]
    with (data.parent / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_until_ready(f"http://{address}", process)
            yield Prometheus(f"http://{address}")
        finally:
            process.terminate()
            process.wait(_START_SECONDS)


def find_tools() -> Path:
    """Find the folder of `prometheus` and `promtool` on PATH or in Debian's package.

    Raises:
        ToolsError: They are not on PATH, and this user can't fetch the package.
    """
    found = shutil.which("promtool")
    if found and shutil.which("prometheus"):
        return Path(found).parent
    _CACHE.parent.mkdir(exist_ok=True)
    with _CACHE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes may fetch it at the same time
        if not _CACHE.exists():
            if os.geteuid() != 0 or not shutil.which("apt-get"):
                raise ToolsError(
                    "promtool and prometheus must be on PATH; run: apt-get install prometheus"
                )
            _unpack_debian_package(_CACHE)
    return _CACHE / "usr" / "bin"


def _unpack_debian_package(target: Path) -> None:
    """Unpack Debian's package without installing it, because that would start its service."""
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
    for _ in range(_START_SECONDS * 10):
        try:
            with _OPENER.open(f"{url}/-/ready", timeout=1):
                return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    raise RuntimeError(f"Prometheus isn't ready at {url}; prometheus.log has the reason")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
