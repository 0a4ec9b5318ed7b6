"""One bulk run: the dataset, its results, and what is reported at the end."""

import re
from collections.abc import Collection, Iterator
from contextlib import closing

import pyarrow as pa
import pyarrow.compute as pc
import ray
import typer

from convscope._usage_errors import INTERRUPTED
from convscope.client.cli.error_output import print_error
from convscope.client.cli.interruption import let_the_next_one_kill
from convscope.client.cli.outputs.output_file import FileChoice
from convscope.client.cli.run_summary import RunSummary
from deploy.ray.data.classifier import Classifier
from deploy.ray.data.cluster import connect
from deploy.ray.data.inputs import Images
from deploy.ray.data.interruption import CONTINUE, NOTHING_WRITTEN
from deploy.ray.data.job import ERROR_COLUMNS, Job
from deploy.ray.data.parts import Parts
from deploy.ray.data.progress import Show, progress
from deploy.ray.data.workers import Workers

__all__ = ["run"]

_CLASS = re.compile(r"^[\w.]+: ")  # before the message, in the last line of a traceback
_BY_CTRL_C = "interrupted"


def run(images: Images, job: Job, choice: FileChoice, workers: Workers, *, quiet: bool) -> None:
    """Classify images into a file.

    Args:
        images: The images.
        job: What is wanted.
        choice: The file.
        workers: The processes to use.
        quiet: Whether neither progress nor a summary is shown.

    Raises:
        ConvscopeError: The run can't start.
        typer.Exit: An image failed (2), or all of them (1), or the run was interrupted (130).
    """
    try:
        with closing(Parts(choice, job.schema)) as parts:
            connect()
            code = _Run(images, job, parts, workers, quiet=quiet)()
    finally:
        ray.shutdown()
    if code:
        raise typer.Exit(code)


class _Run:
    def __init__(
        self, images: Images, job: Job, parts: Parts, workers: Workers, *, quiet: bool
    ) -> None:
        self._images = images
        self._job = job
        self._workers = workers
        resources = ray.cluster_resources()
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._share = workers.share(
            cpus=resources.get("CPU", 0.0),
            gpus=resources.get("GPU", 0.0),
            largest=max(each.get("CPU", 0.0) for each in machines),
        )
        self._parts = parts
        self._quiet = quiet
        # As lines of progress follow the errors, the summary names the images again.
        self._summary = RunSummary(images.skipped, None, follows_results=True)

    def __call__(self) -> int:
        """Classify what is left, and return the exit code."""
        summary = self._summary
        for name, message in self._images.problems.items():
            self._fail(name, message)
        todo = [name for name in self._images.names if not self._parts.done.take(name)]
        summary.done_before = len(self._images.names) - len(todo)
        try:
            with progress(len(todo), quiet=self._quiet) as show:
                self._classify(todo, show)
        except KeyboardInterrupt:
            summary.stopped = _BY_CTRL_C
        except ray.exceptions.RayError as error:
            summary.stopped = f"stopped: {_reason(error)}"
        except OSError as error:
            summary.stopped = f"stopped: the output can't be written: {error.strerror}"
        self._finish()
        let_the_next_one_kill()  # the outcome is certain; Ray may take seconds to end
        if not self._quiet:
            summary.print()
        return self._exit_code()

    def _classify(self, todo: Collection[str], show: Show) -> None:
        left = set(todo)
        try:
            for results in self._results(todo) if todo else ():
                self._take(_first_of_each(results, left))
                show(len(todo) - len(left), self._summary.failed)
        finally:
            self._parts.write_part()
        if left:
            self._summary.stopped = f"stopped: Ray returned nothing for {len(left):,} images"

    def _results(self, todo: Collection[str]) -> Iterator[pa.Table]:
        """Yield the results as they arrive: in any order, and again if an actor was restarted."""
        size, share = self._workers.batch_size, self._share
        results = self._images.read(todo, size, share.reader_cpus).map_batches(
            Classifier,
            fn_constructor_args=(self._job,),
            compute=ray.data.ActorPoolStrategy(size=share.actors),
            batch_size=size,
            batch_format="pyarrow",
            num_cpus=share.actor_cpus,
            num_gpus=self._workers.gpus,
        )
        yield from results.iter_batches(batch_size=None, batch_format="pyarrow")

    def _take(self, results: pa.Table) -> None:
        failed = pc.is_valid(results["error_code"])
        for row in results.filter(failed).select(["image", "error"]).to_pylist():
            self._fail(row["image"], f"{row['image']}: {row['error']}")
        classified = results.filter(pc.invert(failed)).drop_columns(list(ERROR_COLUMNS))
        self._parts.add(classified)
        self._summary.succeeded += len(classified)

    def _fail(self, name: str, message: str) -> None:
        self._summary.fail(name)
        print_error(message)

    def _finish(self) -> None:
        """Complete the output."""
        summary, parts = self._summary, self._parts
        count = summary.succeeded + len(parts.done)
        try:
            if not count and summary.stopped == _BY_CTRL_C:
                summary.written = NOTHING_WRITTEN
            elif not count:
                summary.written = f"{parts.path} was not written: it would be empty"
            elif summary.stopped:
                summary.written = CONTINUE
            else:
                parts.publish()
                summary.written = f"wrote {parts.path}: {count:,} image{'' if count == 1 else 's'}"
        except OSError as error:
            summary.stopped = f"{parts.path} can't be written: {error.strerror}"
            summary.written = CONTINUE

    def _exit_code(self) -> int:
        summary = self._summary
        if summary.stopped == _BY_CTRL_C:
            return INTERRUPTED
        if not (summary.failed or summary.stopped):
            return 0
        return 2 if summary.succeeded or summary.done_before else 1


def _first_of_each(results: pa.Table, left: set[str]) -> pa.Table:
    """Return the results of images that have none yet, and remove these from what is left."""
    is_new = []
    for image in results["image"].to_pylist():
        is_new.append(image in left)
        left.discard(image)
    return results.filter(pa.array(is_new, pa.bool_()))


def _reason(error: Exception) -> str:
    """Return the message of the error in the actor, which Ray wraps in its traceback."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return _CLASS.sub("", lines[-1])
