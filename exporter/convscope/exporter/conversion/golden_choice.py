"""Chooses golden inputs whose best class leads clearly.

If the two best classes are nearly equal, the server's faster decoder may swap
them, and the golden gate would reject a good bundle.
"""

from collections.abc import Iterable, Iterator
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from convscope.exporter.conversion.golden import GoldenInput, encode_png, golden_inputs
from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.conversion.parity import run_torch
from convscope.exporter.datasets import ImageFiles, Samples
from convscope.exporter.preprocessing import InputRule

__all__ = ["decisive", "one_of_each_class"]

# Three times the difference of a probability that the golden gate allows.
MIN_MARGIN = 0.1
MAX_CLASSES = 10
CANDIDATES = 5
MAX_FILE_BYTES = 4 * 2**20


def decisive(
    network: ServableNetwork, candidates: Iterable[GoldenInput], expects: InputRule
) -> list[GoldenInput]:
    """Return the candidates whose best class leads clearly; all of them for a bank of filters."""
    return [one for one in candidates if _margin(network, one, expects) >= MIN_MARGIN]


def one_of_each_class(
    network: ServableNetwork, samples: Samples, expects: InputRule
) -> list[GoldenInput]:
    """Return one clear input for each of the first classes, and at least one input."""
    golden = []
    for label in np.unique(samples.labels)[:MAX_CLASSES]:
        own = np.flatnonzero(samples.labels == label)[:CANDIDATES]
        golden.extend(decisive(network, _readable(samples, own), expects)[:1])
    if golden:
        return golden
    first = np.arange(min(len(samples.labels), CANDIDATES))
    return list(_readable(samples, first))[:1]


def _margin(network: ServableNetwork, one: GoldenInput, expects: InputRule) -> float:
    if not network.heads:
        return 1.0
    outputs = run_torch(network, golden_inputs([one], expects))
    second, best = np.sort(outputs[network.heads[1]][0])[-2:]
    return float(best - second)


def _readable(samples: Samples, indices: NDArray[np.int64]) -> Iterator[GoldenInput]:
    for index in indices:
        one = _encode(samples, int(index))
        if not isinstance(one, bytes) or _opens(one):
            yield one


def _encode(samples: Samples, index: int) -> GoldenInput:
    if isinstance(samples, ImageFiles):
        return samples.paths[index].read_bytes()
    one = samples.inputs[index]
    return encode_png(one) if one.dtype == np.uint8 else one.astype(np.float32)


def _opens(encoded: bytes) -> bool:
    if len(encoded) > MAX_FILE_BYTES:
        return False
    try:
        Image.open(BytesIO(encoded)).load()
    except (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError):
        return False
    return True
