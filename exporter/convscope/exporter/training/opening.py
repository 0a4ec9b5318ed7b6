"""Starts or resumes the run of a job, and records its publication."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from convscope.bundle.errors import BundleError
from convscope.bundle.manifest import parse_manifest
from convscope.exporter.errors import RunError
from convscope.exporter.training.job import TrainingJob
from convscope.exporter.training.processes import RUN_VARIABLE, is_first_process
from convscope.exporter.training.runs import Run, begin_run, latest_run

__all__ = [
    "begin_publication",
    "check_split",
    "finish",
    "joined_run",
    "own_runs",
    "resume_run",
    "start_run",
]

DEFAULT_EPOCHS = 10


def start_run(
    job: TrainingJob, settings: Mapping[str, Any], content: str, split: Mapping[str, Any]
) -> Run:
    """Create the directory of a new run, and record its settings and its dataset there."""
    record = {
        "model": job.model,
        **settings,
        "dataset_fingerprint": content,
        "split": split,
        "epochs": job.epochs or DEFAULT_EPOCHS,
        "best_epoch": None,
        "finished": False,
        "published_version": None,
        "published_epoch": None,
    }
    return begin_run(job.runs / job.model, record)


def resume_run(job: TrainingJob, settings: Mapping[str, Any], content: str) -> Run:
    """Return the latest run of a job's model, with the epochs that the job requests.

    Args:
        job: The request.
        settings: The settings that must be those of the run.
        content: The fingerprint of the dataset.

    Raises:
        RunError: There is no run to resume, its settings differ, or its dataset has changed.
    """
    run = latest_run(job.runs / job.model)
    run.check(settings)
    if run.record().get("dataset_fingerprint", content) != content:
        raise _changed(run)
    _complete_publication(run, job.repository / job.model)
    _accept_epochs(run, job.epochs)
    return run


@contextmanager
def own_runs(job: TrainingJob) -> Iterator[TrainingJob]:
    """Give the first process of each further machine a folder of runs of its own, for a while.

    Only process 0 writes to the run. The machines may share its folder, or not.

    Raises:
        RunError: The run to resume is missing on this machine.
    """
    if is_first_process() or RUN_VARIABLE in os.environ:
        yield job
        return
    with TemporaryDirectory(prefix="convscope-runs-") as folder:
        if job.resume:
            _copy_latest(job.runs / job.model, Path(folder) / job.model)
        yield replace(job, runs=Path(folder))


def joined_run(job: TrainingJob) -> Run | None:
    """Return the run that another process started; None in the first process."""
    known = os.environ.get(RUN_VARIABLE)
    return None if known is None else Run(Path(known), job.resume)


def check_split(run: Run, split: Mapping[str, Any]) -> None:
    """Check that a run was started with the same numbers of inputs.

    Raises:
        RunError: The dataset has changed.
    """
    if run.record()["split"] != split:
        raise _changed(run)


def begin_publication(run: Run, version: int, epoch: int, weights: str) -> None:
    """Record what is being published, in case that the process is killed after it."""
    run.update(publishing={"version": version, "epoch": epoch, "weights": weights})


def finish(run: Run, version: int, epoch: int) -> None:
    """Record that a run is finished and which epoch is published."""
    run.update(finished=True, published_version=version, published_epoch=epoch, publishing=None)


def _copy_latest(runs: Path, target: Path) -> None:
    try:
        run = latest_run(runs)
    except RunError as error:
        raise RunError(
            f"there is no run in {runs} to resume on this machine; share this folder with machine "
            "0, or copy the run from there"
        ) from error
    shutil.copytree(run.directory, target / run.directory.name)


def _changed(run: Run) -> RunError:
    return RunError(
        f"the dataset has changed since {run.title} was started; restore it, or start a new "
        "run without --resume"
    )


def _accept_epochs(run: Run, epochs: int | None) -> None:
    recorded = int(run.record()["epochs"])
    if epochs is None or epochs == recorded:
        return
    if epochs < recorded:
        raise RunError(
            f"{run.title} was started with {recorded} epochs, so --epochs {epochs} can't continue "
            f"it; pass {recorded} or more, or start a new run without --resume"
        )
    run.update(epochs=epochs, finished=False)


def _complete_publication(run: Run, model: Path) -> None:
    """Record the version that a killed process published, but didn't record."""
    pending = run.record().get("publishing")
    if pending is None:
        return
    path = model / str(pending["version"]) / "manifest.json"
    try:
        published = parse_manifest(path.read_bytes()).provenance.weights
    except (OSError, BundleError):
        return  # nothing was published
    if published == pending["weights"]:
        finish(run, pending["version"], pending["epoch"])
