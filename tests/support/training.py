"""Training commands in processes that can be killed, started from one that has PyTorch loaded."""

import contextlib
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from support.exporter import processes, renew_threads
from support.hosts import enter

__all__ = ["TrainingCommand"]


class TrainingCommand:
    """`convscope-exporter train` in its own process.

    Args:
        arguments: The arguments of the command.
        log: The file that receives its output.
        namespace: The network namespace of its host; by default that of this process.
    """

    def __init__(self, arguments: list[str], log: Path, namespace: Path | None = None) -> None:
        self._log = log
        log.write_text("")
        self.process: ForkServerProcess = processes().Process(
            target=_run, args=(arguments, log, namespace)
        )
        self.process.start()

    @property
    def lines(self) -> list[str]:
        """The lines of output so far."""
        return self._log.read_text().splitlines()

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.process.kill()
        self.process.join()

    def finish(self) -> list[str]:
        """Wait for the end, and return the output of a successful command."""
        self.process.join()
        if self.process.exitcode != 0:
            raise RuntimeError(f"exit code {self.process.exitcode}: {self._log.read_text()}")
        return self.lines


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    with (
        log.open("w", buffering=1) as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield


def _run(arguments: list[str], log: Path, namespace: Path | None) -> None:
    from convscope.exporter.cli import app

    if namespace is not None:
        enter(namespace)
    renew_threads()
    with _output_to(log):
        app(["train", *arguments], prog_name="convscope-exporter")
