"""The user's own network as the reference: its final outputs for raw inputs.

Nothing of the bundle is involved: NumPy normalizes the images, and every input
runs alone.
"""

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.exporter.conversion.ending import find_ending
from convscope.exporter.conversion.photos import golden_photos
from convscope.exporter.conversion.source import Source
from convscope.exporter.errors import ParityError, UnclearOutputError
from convscope.exporter.graphs.comparison import TOLERANCE
from convscope.exporter.outputs.detection import decide
from convscope.exporter.outputs.probes import probes
from convscope.exporter.outputs.semantics import Semantics
from convscope.exporter.preprocessing import ImagePreprocessing

__all__ = ["Reference", "check_network_independence", "find_semantics"]


class Reference:
    """The check inputs, and what the user's network returns for them. It runs once, on first use.

    Args:
        source: The user's network and its description.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    @cached_property
    def inputs_by_description(self) -> dict[str, NDArray[np.generic]]:
        """Photos and probes, as the bundle's graph takes them."""
        return _check_inputs(self.source)

    @cached_property
    def inputs(self) -> NDArray[np.generic]:
        """The same inputs, [n, ...]."""
        return np.stack(list(self.inputs_by_description.values()))

    @cached_property
    def outputs(self) -> NDArray[np.floating]:
        """The final outputs, of each input alone, [n, outputs]."""
        return _final_outputs(self.source, self.inputs)


def find_semantics(reference: Reference) -> Semantics:
    """Return what a classifier's final output contains.

    Raises:
        ExporterError: It isn't clear, or contradicts the user's choice.
    """
    source = reference.source
    planes = _as_network_input(source, reference.inputs[:1])
    ending = find_ending(source.network.eval(), torch.cat([planes, planes]))
    try:
        return decide(source.activation, ending, reference.outputs)
    except UnclearOutputError:
        check_network_independence(reference)  # the better explanation, if it fails too
        raise


def _check_inputs(source: Source) -> dict[str, NDArray[np.generic]]:
    expects = source.preprocessing
    images = isinstance(expects, ImagePreprocessing)
    photos = golden_photos() if images else []
    named: dict[str, NDArray[np.generic]] = {
        f"photo {index + 1}": expects.prepare(photo) for index, photo in enumerate(photos)
    }
    return named | probes(expects.shape, images=images)


@torch.inference_mode()
def _final_outputs(source: Source, inputs: NDArray[np.generic]) -> NDArray[np.floating]:
    network = source.network.eval()
    rows = [network(_as_network_input(source, row[np.newaxis])).reshape(1, -1) for row in inputs]
    return np.asarray(torch.cat(rows).double().numpy())


@torch.inference_mode()
def check_network_independence(reference: Reference) -> None:
    """Compare the network's results for a batch with those for single images, in PyTorch.

    Raises:
        ParityError: The result of an image depends on the other images in its batch.
    """
    source, alone = reference.source, reference.outputs
    together = source.network.eval()(_as_network_input(source, reference.inputs))
    difference = np.abs(together.reshape(alone.shape).double().numpy() - alone)
    if np.nanmax(difference) > TOLERANCE * np.nanmax(np.abs(alone)):
        raise ParityError(
            "the result of an image depends on the other images in its batch. The likely cause is "
            "batch normalization in training mode, or another statistic over the batch axis; "
            "switch it to evaluation mode, and reduce over the other axes only"
        )


def _as_network_input(source: Source, rows: NDArray[np.generic]) -> torch.Tensor:
    expects = source.preprocessing
    if not isinstance(expects, ImagePreprocessing):
        return torch.from_numpy(rows)
    normal = (rows.astype(np.float64) / 255 - np.array(expects.mean)) / np.array(expects.std)
    planes = np.ascontiguousarray(normal.transpose(0, 3, 1, 2), dtype=np.float32)
    return torch.from_numpy(planes)  # [n, C, H, W]
