"""Recognizes inputs by their content, whatever their names and folders are."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

import numpy as np

from convscope.exporter.datasets.samples import Dataset, ImageFiles, Samples

__all__ = ["content_hashes", "dataset_digest", "digest_of", "training_inputs"]

READERS = 4
# Of 10 million inputs, two different ones share a hash with a probability of 3e-6.
HASH_BYTES = 8


def content_hashes(samples: Samples) -> list[str]:
    """Return a hash of each input: of the bytes of a file, or of the values of an array.

    The hash of a file that can't be read is empty.
    """
    if isinstance(samples, ImageFiles):
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(_file_hash, samples.paths))
    inputs = samples.inputs
    kind = f"{inputs.dtype} {inputs.shape[1:]}".encode()
    return [_hash(kind + np.ascontiguousarray(one).tobytes()) for one in inputs]


def training_inputs(data: Dataset) -> list[str]:
    """Return the sorted hashes of the inputs by which a training chooses weights.

    These are the training and the validation inputs.
    """
    hashes = set(content_hashes(data.train))
    if data.validation is not None:
        hashes.update(content_hashes(data.validation))
    return sorted(hashes - {""})


def dataset_digest(data: Dataset) -> str:
    """Return a digest of the inputs of each split with their classes, in their order."""
    lines = []
    for part in (data.train, data.validation, data.test):
        if part is not None:
            pairs = zip(part.labels, content_hashes(part), strict=True)
            lines += [f"{data.labels[label]} {one}" for label, one in pairs]
        lines.append("")
    return digest_of(lines)


def digest_of(lines: Sequence[str]) -> str:
    """Return one digest of several texts, in their order."""
    return _hash("\n".join(lines).encode(errors="surrogateescape"))


def _file_hash(path: Path) -> str:
    try:
        return _hash(path.read_bytes())
    except OSError:
        return ""


def _hash(content: bytes) -> str:
    return blake2b(content, digest_size=HASH_BYTES).hexdigest()
