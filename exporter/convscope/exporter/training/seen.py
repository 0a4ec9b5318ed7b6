"""Records what a run trains on, so that `evaluate` recognizes these inputs by their content."""

from convscope.exporter.datasets import Dataset
from convscope.exporter.datasets.content import dataset_digest, training_inputs
from convscope.exporter.training.runs import Run

__all__ = ["INPUTS", "digest_text", "record_inputs"]

INPUTS = "training_inputs.txt"


def record_inputs(run: Run, data: Dataset) -> None:
    """Record the digest of a user's dataset and the hashes of its training inputs.

    A published dataset needs no record, because it has a test split and a name of its own.
    """
    if ":" not in data.name or (run.directory / INPUTS).is_file():
        return
    run.update(dataset_digest=dataset_digest(data))
    run.write(INPUTS, "\n".join(training_inputs(data)) + "\n")


def digest_text(run: Run) -> str:
    """Return the part of the description of the weights that names the dataset's content."""
    digest = run.record().get("dataset_digest")
    return "" if digest is None else f", dataset digest {digest}"
