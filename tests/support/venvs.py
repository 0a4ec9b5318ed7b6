"""Separate environments for clients that conflict with the tests' environment."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "venvs"
# Shorter than pytest's timeout for these tests.
INSTALL_SECONDS = 480
# The gRPC and HTTP clients of others. All require an older protobuf than the server. The limit of
# grpcio-tools follows from that, and spares pip the download of ten newer versions.
OTHER_CLIENTS = (
    "tritonclient[grpc,http]>=2.70,<3",
    "kserve>=0.20,<1",
    "grpcio-tools<1.82",
    "Pillow>=11",
    "pytest>=8.4",
)


def python_with(*requirements: str) -> Path:
    """Return the Python of an environment with these packages, which is created once and kept.

    Raises:
        RuntimeError: The environment can't be created.
    """
    directory = CACHE / hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:12]
    python, ready = directory / "bin" / "python", directory / ".ready"
    CACHE.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of pytest-xdist may need it
        if not ready.exists():
            shutil.rmtree(directory, ignore_errors=True)
            make_venv(directory)
            # Compiling packages that are never imported would take most of the time.
            run(*pip_for(python), "install", "--quiet", "--no-compile", *requirements)
            ready.touch()
    return python


def make_venv(directory: Path) -> None:
    """Create an environment without a pip of its own, which takes five seconds of CPU.

    Raises:
        RuntimeError: It can't be created.
    """
    run(sys.executable, "-m", "venv", "--without-pip", directory)


def pip_for(python: Path) -> tuple[str | Path, ...]:
    """Return the command of this environment's pip, for another environment."""
    return (sys.executable, "-m", "pip", "--python", python)


def run_suite(python: Path, suite: Path, **environment: str) -> str:
    """Run a file of tests in another environment and return pytest's last line.

    Raises:
        RuntimeError: A test failed.
    """
    # Without the settings and fixtures of the other tests, which need missing packages.
    alone = ("-p", "no:cacheprovider", "-c", os.devnull, "--noconftest")
    outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    command = (python, "-m", "pytest", suite, "-q", *alone)
    return run(*command, environment=outside | environment).splitlines()[-1]


def run(
    *command: str | Path, environment: dict[str, str] | None = None, stdin: str | None = None
) -> str:
    """Run a command and return what it printed.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
        env=environment,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command[:4]))}: {done.stdout}{done.stderr}")
    return done.stdout
