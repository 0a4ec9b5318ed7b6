"""Recognizes whether a dataset has changed since a run was started."""

from hashlib import sha256

import numpy as np

from convscope.exporter.datasets import Dataset, ImageFiles

__all__ = ["fingerprint"]


def fingerprint(data: Dataset) -> str:
    """Return a digest of the classes and the inputs of a dataset, in their order.

    The order decides which inputs are held back, so other files would move
    training inputs into the validation split. Of image files only the names
    count, because reading them all takes as long as preparing them.
    """
    digest = sha256()
    for samples in (data.train, data.validation, data.test):
        if samples is None:
            continue
        digest.update(samples.labels.tobytes())
        if isinstance(samples, ImageFiles):
            names = ("/".join(path.parts[-2:]) for path in samples.paths)
            digest.update("\0".join(names).encode(errors="surrogateescape"))
        else:
            digest.update(np.ascontiguousarray(samples.inputs).data)
    return digest.hexdigest()[:16]
