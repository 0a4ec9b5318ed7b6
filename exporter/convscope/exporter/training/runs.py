"""The directory of a training run: its checkpoints, its metrics and its record `run.json`."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.exporter.errors import RunError

__all__ = ["Run", "begin_run", "latest_run"]

_RECORD = "run.json"


@dataclass(frozen=True, slots=True)
class Run:
    """One training run.

    Args:
        directory: The directory RUNS/MODEL/NUMBER of its checkpoints and metrics.
        resumes: Whether it continues from its last checkpoint, if it has one.
    """

    directory: Path
    resumes: bool = False

    @property
    def title(self) -> str:
        """The run's name in messages, such as "digits run 3"."""
        return f"{self.directory.parent.name} run {self.directory.name}"

    @property
    def last(self) -> Path:
        """The checkpoint of the last completed epoch."""
        return self.directory / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint of the epoch with the lowest validation loss."""
        return self.directory / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path | None:
        """The checkpoint to continue from; None if the run starts with the first epoch."""
        return self.last if self.resumes and self.last.is_file() else None

    def record(self) -> dict[str, Any]:
        """Return the settings, the split and the state of the run.

        Raises:
            RunError: They can't be read.
        """
        try:
            content = json.loads((self.directory / _RECORD).read_text())
        except (OSError, ValueError) as error:
            raise RunError(
                f"the run in {self.directory} can't be resumed, because its {_RECORD} can't be "
                "read; start a new one without --resume"
            ) from error
        return dict(content)

    def update(self, **values: Any) -> None:
        """Change some values of the record."""
        path = self.directory / _RECORD
        known = self.record() if path.is_file() else {}
        self.write(_RECORD, json.dumps(known | values, indent=2) + "\n")

    def write(self, name: str, text: str) -> None:
        """Replace a file of the run in one step, so that a killed process leaves no half of it."""
        part = self.directory / f"{name}.part"
        part.write_text(text)
        part.replace(self.directory / name)

    def keep_last_as_best(self) -> None:
        """Copy the last checkpoint to the best one in one step."""
        part = self.directory / "best.part"
        shutil.copyfile(self.last, part)
        part.replace(self.best)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Check that the run was started with these settings, as far as it recorded them.

        Raises:
            RunError: A setting differs.
        """
        recorded = self.record()
        for name, value in settings.items():
            if recorded.get(name, value) != value:
                raise RunError(
                    f"the run in {self.directory} has {name.replace('_', ' ')} "
                    f"{recorded[name]!r}, but this command has {value!r}; use the run's own "
                    "settings, or start a new run without --resume"
                )


def begin_run(directory: Path, settings: Mapping[str, Any]) -> Run:
    """Create the next numbered directory, and record the settings there."""
    number = max(_numbers(directory), default=0) + 1
    while True:
        try:
            (directory / str(number)).mkdir(parents=True)
            break
        except FileExistsError:  # another run was started meanwhile
            number += 1
    run = Run(directory / str(number))
    run.update(**settings)
    return run


def latest_run(directory: Path) -> Run:
    """Return the latest run, to be resumed.

    Raises:
        RunError: There is no run.
    """
    # A process that was killed at once leaves a directory without a record.
    numbers = [n for n in _numbers(directory) if (directory / str(n) / _RECORD).is_file()]
    if not numbers:
        raise RunError(f"there is no run in {directory} to resume; start one without --resume")
    return Run(directory / str(max(numbers)), resumes=True)


def _numbers(directory: Path) -> list[int]:
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return [int(name) for name in names if name.isdecimal()]
