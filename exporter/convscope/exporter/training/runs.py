"""The directory of a training run: checkpoints, logs and the settings of the run."""

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
        directory: The directory of its checkpoints and logs.
        resumes: Whether it continues from its last checkpoint, if it has one.
    """

    directory: Path
    resumes: bool = False

    @property
    def checkpoints(self) -> Path:
        """The directory of the checkpoints."""
        return self.directory / "checkpoints"

    @property
    def last_checkpoint(self) -> Path | None:
        """The checkpoint to continue from; None for a new run."""
        path = self.checkpoints / "last.ckpt"
        return path if self.resumes and path.is_file() else None


def begin_run(directory: Path, settings: dict[str, Any]) -> Run:
    """Create the next numbered directory, and record the settings there."""
    number = max(_numbers(directory), default=0) + 1
    while True:
        try:
            (directory / str(number)).mkdir(parents=True)
            break
        except FileExistsError:  # another run was started meanwhile
            number += 1
    run = Run(directory / str(number))
    (run.directory / _RECORD).write_text(json.dumps(settings, indent=2) + "\n")
    return run


def resume_run(directory: Path, settings: dict[str, Any]) -> Run:
    """Return the latest run, after checking that its settings are the same.

    Raises:
        RunError: There is no run, or its settings differ.
    """
    numbers = _numbers(directory)
    if not numbers:
        raise RunError(f"there is no run in {directory} to resume; start one without --resume")
    latest = directory / str(max(numbers))
    try:
        recorded = json.loads((latest / _RECORD).read_text())
    except (OSError, ValueError) as error:
        raise RunError(
            f"the run in {latest} can't be resumed; start a new one without --resume"
        ) from error
    for name, value in settings.items():
        if recorded.get(name) != value:
            raise RunError(
                f"the run in {latest} has {name} {recorded.get(name)!r}, but this command has "
                f"{value!r}; use the run's own settings, or start a new run without --resume"
            )
    return Run(latest, resumes=True)


def _numbers(directory: Path) -> list[int]:
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return [int(name) for name in names if name.isdecimal()]
