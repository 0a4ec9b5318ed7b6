"""The lines that `train` prints about its run."""

from rich.console import Console

from convscope.exporter.training.checkpoints import read_history
from convscope.exporter.training.fit import is_complete
from convscope.exporter.training.runs import Run

__all__ = ["report_finished", "report_start"]


def report_start(run: Run, epochs: int, patience: int | None, console: Console) -> None:
    """Print the directory of a run and the epoch with which it starts or continues."""
    console.print(f"run       {run.directory}", markup=False)
    if not run.resumes:
        return
    history = read_history(run.last_checkpoint)
    if is_complete(history, epochs, patience):
        console.print(f"{run.title} has all of its epochs, and isn't published yet")
    else:
        console.print(f"continuing {run.title} with epoch {len(history) + 1} of {epochs}")


def report_finished(run: Run, console: Console) -> None:
    """Print that a run is finished, and how to continue it."""
    record = run.record()
    console.print(
        f"{run.title} is finished: epoch {record['published_epoch']} of {record['epochs']} is "
        f"published as v{record['published_version']}; to continue it, pass --epochs with more "
        f"than {record['epochs']}; to train again, omit --resume"
    )
