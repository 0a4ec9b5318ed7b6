"""Finds a network's tensors in a checkpoint, under whatever keys and prefixes it stores them."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from torch import Tensor

__all__ = ["find_tensors", "match_names"]

Tensors = dict[str, Tensor]

# The keys under which training programs store the tensors in a larger file. The moving
# average comes last: a file that also has the plain weights was trained with those.
_KEYS = (
    "state_dict",
    "model_state_dict",
    "model",
    "state",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
)
_MAX_DEPTH = 4
# So many names show which prefix two sets of names differ in.
_SAMPLES = 20


def find_tensors(content: Any, depth: int = _MAX_DEPTH) -> Tensors:
    """Return the named tensors in a file's content; empty if there are none."""
    if not isinstance(content, Mapping) or depth == 0:
        return {}
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        return tensors
    found = (find_tensors(content.get(key), depth - 1) for key in _KEYS)
    return next(filter(None, found), {})


def match_names(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Tensors:
    """Rename a file's tensors to a network's names, if they differ in a prefix only.

    The prefix is the one with which the most names and shapes agree. Tensors outside a
    removed prefix, such as those of a loss, don't belong to the network.

    Args:
        given: The file's tensors.
        own: The network's tensors.
    """
    candidates: list[Tensors] = [dict(given)]
    for prefix in _prefixes(given, own):
        candidates.append(
            {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}
        )
    for prefix in _prefixes(own, given):
        candidates.append({prefix + key: value for key, value in given.items()})
    return max(candidates, key=lambda tensors: _agreement(tensors, own))


def _prefixes(longer: Mapping[str, Tensor], shorter: Mapping[str, Tensor]) -> list[str]:
    """Return what precedes some of the shorter names in the longer ones."""
    found: dict[str, None] = {}
    for name in islice(shorter, _SAMPLES):
        found.update(dict.fromkeys(_before(longer, name)))
    return list(found)


def _before(names: Mapping[str, Tensor], suffix: str) -> Iterator[str]:
    for name in names:
        if name.endswith(f".{suffix}"):
            yield name[: -len(suffix)]


def _agreement(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int:
    """Count the equal names, and those with equal shapes twice."""
    return sum(1 + (tensors[name].shape == own[name].shape) for name in tensors.keys() & own.keys())
