"""Environments of their own, for clients that can't live in the tests'."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "venvs"
# Some minutes less than pytest gives these tests.
INSTALL_SECONDS = 480


def python_with(*requirements: str) -> Path:
    """Give the Python of an environment that has these packages; made once, and then kept.

    Raises:
        RuntimeError: It can't be made.
    """
    directory = CACHE / hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:12]
    python, ready = directory / "bin" / "python", directory / ".ready"
    if not ready.exists():
        shutil.rmtree(directory, ignore_errors=True)
        _run(sys.executable, "-m", "venv", directory)
        # What isn't imported need not be compiled: most of the time goes there.
        _run(python, "-m", "pip", "install", "--quiet", "--no-compile", *requirements)
        ready.touch()
    return python


def run_suite(python: Path, suite: Path, **environment: str) -> str:
    """Run a file of tests in another environment; give pytest's closing line.

    Raises:
        RuntimeError: A test failed.
    """
    # Nothing of the tests around it: their settings and fixtures need what isn't there.
    alone = ("-p", "no:cacheprovider", "-c", os.devnull, "--noconftest")
    outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    command = (python, "-m", "pytest", suite, "-q", *alone)
    return _run(*command, environment=outside | environment).splitlines()[-1]


def _run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
        env=environment,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command[:4]))}: {done.stdout}{done.stderr}")
    return done.stdout
