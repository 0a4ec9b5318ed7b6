"""The environments of the peers, created when missing and outside of every measurement."""

import shutil
import subprocess
import sys
from pathlib import Path

from bench.context import Bench
from bench.errors import BenchError
from bench.peers.base import Peer

__all__ = ["python_of", "version_of"]

INSTALL_SECONDS = 900


def python_of(bench: Bench, peer: Peer) -> Path:
    """Return the Python of a peer's environment, which is created if necessary.

    Raises:
        BenchError: The environment can't be created.
    """
    directory = bench.cache / "venvs" / peer.name
    ready = directory / ".ready"
    if not ready.exists():
        shutil.rmtree(directory, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(directory)])
        pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        _run([*pip, peer.distribution, *peer.packages])
        ready.touch()
    return directory / "bin" / "python"


def version_of(python: Path, distribution: str) -> str:
    """Return the version of a package in an environment."""
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    return _run([str(python), "-c", code]).strip()


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(
            f"creating the environment took longer than {INSTALL_SECONDS} s"
        ) from error
    if done.returncode != 0:
        raise BenchError(f"the environment can't be created: {done.stderr.strip()[-300:]}")
    return done.stdout
