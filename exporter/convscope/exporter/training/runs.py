"""The directory of a training run: checkpoints and logs, and what was asked for."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.exporter.errors import RunError

__all__ = ["Run", "begin_run", "resume_run"]

_RECORD = "run.json"


@dataclass(frozen=True, slots=True)
class Run:
    """One training run.

    Args:
        directory: Where its checkpoints and logs lie.
        resumes: Whether it goes on from its last checkpoint, if there is one.
    """

    directory: Path
    resumes: bool = False

    @property
    def checkpoints(self) -> Path:
        """The directory of the checkpoints."""
        return self.directory / "checkpoints"

    @property
    def last_checkpoint(self) -> Path | None:
        """The checkpoint to go on from, if this run does and there is one."""
        path = self.checkpoints / "last.ckpt"
        return path if self.resumes and path.is_file() else None


def begin_run(directory: Path, asked: dict[str, Any]) -> Run:
    """Make the next numbered directory, and record there what was asked for."""
    number = max(_numbers(directory), default=0) + 1
    while True:
        try:
            (directory / str(number)).mkdir(parents=True)
            break
        except FileExistsError:  # another run began meanwhile
            number += 1
    run = Run(directory / str(number))
    (run.directory / _RECORD).write_text(json.dumps(asked, indent=2) + "\n")
    return run


def resume_run(directory: Path, asked: dict[str, Any]) -> Run:
    """Find the latest run, and check that it was asked for the same.

    Raises:
        RunError: There is none, or it was asked for something else.
    """
    numbers = _numbers(directory)
    if not numbers:
        raise RunError(f"there is no run in {directory} to resume; leave --resume out to begin one")
    latest = directory / str(max(numbers))
    try:
        recorded = json.loads((latest / _RECORD).read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{latest} holds no run that can be resumed; begin a new one") from error
    for name, value in asked.items():
        if recorded.get(name) != value:
            raise RunError(
                f"the run in {latest} had {name} {recorded.get(name)!r}, and this command says "
                f"{value!r}; repeat the same command with --resume, or begin a new run without it"
            )
    return Run(latest, resumes=True)


def _numbers(directory: Path) -> list[int]:
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return [int(name) for name in names if name.isdecimal()]
