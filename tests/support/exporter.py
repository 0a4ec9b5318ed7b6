"""Commands of the exporter, each in its own process."""

import multiprocessing
import os
import subprocess
import sys
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

__all__ = ["exporter", "processes", "renew_threads", "run_exporter", "run_fresh_exporter"]

TESTS = Path(__file__).parents[1]
PRELOADED = [
    "convscope.exporter.cli",
    "convscope.exporter.training.pipeline",
    "convscope.exporter.conversion.convert",
    "convscope.exporter.evaluation.training_report",
    "pydantic.fields",  # Typer imports both when a command runs
    "pydantic.type_adapter",
    "tensorboardX",
    "support.preloaded",
]


@cache
def processes() -> ForkServerContext:
    """Return the context of processes in which PyTorch and Lightning are loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
        forkserver.ensure_running()
    return context


def exporter(*arguments: str) -> str:
    """Run a command of the exporter and return its output.

    Raises:
        RuntimeError: The command failed.
    """
    done = run_exporter(*arguments)
    if done.returncode != 0:
        raise RuntimeError(f"convscope-exporter {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def run_exporter(
    *arguments: str, directory: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of the exporter, which may fail, in this or another directory.

    Its process is forked from one in which PyTorch is loaded, which saves the seconds that
    the imports of a fresh interpreter take.
    """
    with TemporaryDirectory() as scratch:
        out, err = Path(scratch) / "out", Path(scratch) / "err"
        there = directory or Path.cwd()
        process = processes().Process(target=_run, args=(arguments, there, out, err))
        process.start()
        process.join()
        code = process.exitcode
        assert code is not None
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


def run_fresh_exporter(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the exporter, which may fail, in a fresh interpreter."""
    command = [sys.executable, "-m", "convscope.exporter", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def renew_threads() -> None:
    """Let a forked process replace PyTorch's threads, of which it has none.

    The first call that needs them does it. If two threads make it at once, such as those of
    autograd, one of them finds none, and the process ends.
    """
    import torch

    torch.set_num_threads(torch.get_num_threads())


def _run(arguments: tuple[str, ...], directory: Path, out: Path, err: Path) -> None:
    """Do what `python -m convscope.exporter` does, with the output in two files."""
    for path, descriptor in ((out, 1), (err, 2)):
        with path.open("w") as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(directory)
    renew_threads()
    sys.argv = ["convscope-exporter", *arguments]
    from convscope.exporter.__main__ import main

    main()
