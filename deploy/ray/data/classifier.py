"""The actor of a bulk run: it loads the bundle once, and classifies batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from convscope.client import Classification, ConvscopeError, InvalidInputError
from convscope.client.cli.outputs.records import result_record
from deploy.ray.data.job import Job

__all__ = ["Classifier"]


class Classifier:
    """Classifies with a model in its own process.

    Args:
        job: What is wanted.

    Raises:
        ConvscopeError: The model can't be loaded.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._client = job.open()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the results and the errors of a batch of the inputs' schema."""
        images, contents = batch["image"].to_pylist(), batch["content"].to_pylist()
        outcomes = self._outcomes(contents, batch["error"].to_pylist())
        rows = [self._row(image, outcome) for image, outcome in zip(images, outcomes, strict=True)]
        return pa.Table.from_pylist(rows, schema=self._job.schema_with_errors)

    def _outcomes(
        self, contents: Sequence[bytes | None], errors: Sequence[str | None]
    ) -> Iterator[Classification | ConvscopeError]:
        job = self._job
        results = self._client.classify_many(
            (content for content in contents if content is not None),
            model=job.model,
            version=job.version,
            top_k=job.top_k,
            feature_maps=[job.layer] if job.layer else [],
            return_errors=True,
        )
        for content, error in zip(contents, errors, strict=True):
            yield next(results) if content is not None else InvalidInputError(error or "")

    def _row(self, image: str, outcome: Classification | ConvscopeError) -> dict[str, Any]:
        if isinstance(outcome, ConvscopeError):
            return {"image": image, "error_code": outcome.code.name, "error": outcome.message}
        columns = self._job.columns
        (cells,) = columns.rows(result_record(image, outcome))
        row = dict(zip(columns.names, cells, strict=True))
        if layer := self._job.layer:
            channels = outcome.feature_maps[layer].array  # float32 [C, H, W]
            row["embedding"] = channels.mean(axis=(1, 2), dtype=np.float32)  # [C]
        return row
