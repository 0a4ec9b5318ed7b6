"""Runs the unchanged foreign graph image by image, as the reference of its bundle."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.exporter.errors import ExporterError, ParityError
from convscope.exporter.foreign.head import TINY, Head
from convscope.exporter.foreign.image_input import ImageInput
from convscope.exporter.foreign.maps import ForeignMap
from convscope.exporter.foreign.normalization import Normalization
from convscope.exporter.graphs.comparison import softmax
from convscope.exporter.graphs.sessions import Arrays, open_graph, run_session

__all__ = ["Original"]

# The largest deviation of the sum of an image's probabilities from 1.
SUM_TOLERANCE = 1e-2


class Original:
    """Runs a foreign graph on uint8 images, which NumPy normalizes.

    Args:
        model: The unchanged graph.
        image: Its input.
        normalization: The normalization that it expects.
        head: Its end.
        maps: The tensors that become feature maps.

    Raises:
        ExporterError: ONNX Runtime can't open the graph.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        image: ImageInput,
        normalization: Normalization,
        head: Head,
        maps: Sequence[ForeignMap],
    ) -> None:
        self._image = image
        self._normalization = normalization
        self._head = head
        self._maps = maps
        self._names = list(dict.fromkeys([head.tensor, *(one.tensor for one in maps)]))
        self._session = open_graph(_with_outputs(model, self._names).SerializeToString())

    def run(self, images: NDArray[np.uint8]) -> Arrays:
        """Run images, uint8 [n, H, W, C], one by one.

        Returns:
            Logits and probabilities, float32 [n, K], and the feature maps,
            float32 [n, channels, height, width], by name.
        """
        each = [self._run_one(image) for image in images]
        return {name: np.concatenate([one[name] for one in each]) for name in each[0]}

    def check_activation(self, found: Arrays, chosen: str | None) -> None:
        """Check the activation against the graph's outputs.

        Args:
            found: The outputs of `run`.
            chosen: The user's choice; None for the detected activation.

        Raises:
            ExporterError: The outputs contradict the activation.
        """
        values = found["probabilities" if self._head.is_probability else "logits"]
        sums_to_one = bool(
            (values >= 0).all() and np.abs(values.sum(axis=1) - 1).max() < SUM_TOLERANCE
        )
        if self._head.is_probability and not sums_to_one:
            raise ExporterError(
                "the graph's outputs don't add up to 1 for an image, so they are no probabilities "
                "of all classes; use --activation softmax or sigmoid"
            )
        if chosen is None and sums_to_one:
            raise ExporterError(
                "the graph's outputs add up to 1 for every image, so they may already be "
                "probabilities; use --activation none if they are, or softmax if they are logits"
            )

    def _run_one(self, image: NDArray[np.uint8]) -> Arrays:
        values = self._input(image[np.newaxis])
        found = dict(
            zip(
                self._names,
                run_session(self._session, self._image.name, values, self._names),
                strict=True,
            )
        )
        row = {name: array[:1].astype(np.float32) for name, array in found.items()}
        head = found[self._head.tensor].astype(np.float32).reshape(-1, self._head.classes)[:1]
        maps = {one.name: _channels_first(row[one.tensor], one) for one in self._maps}
        return self._heads(head) | maps

    def _input(self, images: NDArray[np.uint8]) -> NDArray[np.generic]:
        normal = self._normalization.apply(images)  # float32 [1, H, W, C]
        if self._image.layout == "nchw":
            normal = normal.transpose(0, 3, 1, 2)
        element = onnx.helper.tensor_dtype_to_np_dtype(self._image.element)
        return np.repeat(normal.astype(element), self._image.batch or 1, axis=0)

    def _heads(self, values: NDArray[np.float32]) -> Arrays:
        if self._head.is_probability:
            return {"logits": np.log(np.maximum(values, TINY)), "probabilities": values}
        if self._head.activation == "softmax":
            return {"logits": values, "probabilities": softmax(values)}
        return {"logits": values, "probabilities": (1 / (1 + np.exp(-values))).astype(np.float32)}


def _channels_first(values: NDArray[np.float32], one: ForeignMap) -> NDArray[np.float32]:
    planes = values.transpose(0, 3, 1, 2) if one.channels_last else values
    if planes.shape[1:] != one.shape:
        raise ParityError(
            f"{one.tensor!r} has the shape {list(planes.shape[1:])} instead of the inferred "
            f"{list(one.shape)}"
        )
    return planes


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Copy a model, with inner tensors as additional outputs."""
    known = {value.name for value in model.graph.output}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return copy
