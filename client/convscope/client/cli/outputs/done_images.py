"""Which images have results from an earlier run."""

from array import array
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from convscope.client.cli.sources.places import normal_name

__all__ = ["DoneImages"]


class DoneImages:
    """The images that have results already: 16 bytes each, for a million of them.

    Args:
        names: Their names; an image that was given twice is in it twice. All spellings of a path
            are one name.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        hashes = np.array(array("Q", map(_hash, names)), np.uint64)
        self._hashes, self._counts = np.unique(hashes, return_counts=True)
        self._total = len(hashes)

    def __len__(self) -> int:
        return self._total

    def take(self, name: str) -> bool:
        """Report whether an image has a result that no image before it has taken."""
        if not self._total:
            return False
        wanted = np.uint64(_hash(name))
        position = int(np.searchsorted(self._hashes, wanted))
        if position == len(self._hashes) or self._hashes[position] != wanted:
            return False
        is_left = bool(self._counts[position] > 0)
        self._counts[position] -= is_left
        return is_left


def _hash(name: str) -> int:
    content = normal_name(name).encode("utf-8", "replace")
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big")
