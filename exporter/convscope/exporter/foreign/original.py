"""Runs the unchanged foreign graph image by image, as the reference of its bundle."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.exporter.errors import ExporterError, ParityError
from convscope.exporter.foreign.head import Head
from convscope.exporter.foreign.image_input import ImageInput
from convscope.exporter.foreign.maps import ForeignMap
from convscope.exporter.foreign.normalization import Normalization
from convscope.exporter.graphs.sessions import Arrays, open_graph, run_session

__all__ = ["Original"]

Values = NDArray[np.floating]


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
        self.head = head
        self._maps = maps
        tensors = [head.output, *([head.logits] if head.logits else [])]
        self._names = list(dict.fromkeys([*tensors, *(one.tensor for one in maps)]))
        self._session = open_graph(_with_outputs(model, self._names).SerializeToString())

    def run(self, images: NDArray[np.uint8]) -> tuple[Values, Values | None, Arrays]:
        """Run images, uint8 [n, H, W, C], one by one.

        Returns:
            The final outputs, [n, K]; the argument of the final activation, [n, K],
            if the graph has it; and the feature maps by name, float32
            [n, channels, height, width].

        Raises:
            ExporterError: The graph can't run, or its output is no vector.
        """
        each = [self._run_one(image) for image in images]
        output = np.stack([_vector(one, self.head.output, self._batch) for one in each])
        name = self.head.logits
        logits = (
            np.stack([one[name].reshape(self._batch, -1)[0] for one in each])
            if name is not None
            else None
        )
        maps = {
            one.name: np.concatenate([_channels_first(found[one.tensor], one) for found in each])
            for one in self._maps
        }
        return output, logits, maps

    @property
    def _batch(self) -> int:
        return self._image.batch or 1

    def _run_one(self, image: NDArray[np.uint8]) -> dict[str, NDArray[np.generic]]:
        normal = self._normalization.apply(image[np.newaxis])  # float32 [1, H, W, C]
        if self._image.layout == "nchw":
            normal = normal.transpose(0, 3, 1, 2)
        element = onnx.helper.tensor_dtype_to_np_dtype(self._image.element)
        values = np.repeat(normal.astype(element), self._batch, axis=0)
        found = run_session(self._session, self._image.name, values, self._names)
        return dict(zip(self._names, found, strict=True))


def _vector(found: dict[str, NDArray[np.generic]], name: str, batch: int) -> Values:
    """Return the numbers of the first image."""
    values = np.asarray(found[name])
    if not np.issubdtype(values.dtype, np.floating):
        kind = "text" if values.dtype == object else str(values.dtype)
        raise ExporterError(
            f"the output {name!r} is {kind} instead of scores; choose the output with the scores "
            "of all classes with --output, or export the network without its final ArgMax"
        )
    shape = list(values.shape)
    sizes = shape[1:] if shape and shape[0] == batch else shape
    if values.size % batch or values.size == 0 or sum(size > 1 for size in sizes) > 1:
        images = "one image" if batch == 1 else f"{batch} images"
        raise ExporterError(
            f"the output {name!r} is {shape} for {images}; a classifier returns one number per "
            "class, [1, K]. A grid or several groups of classes can't be served; choose another "
            "output with --output"
        )
    return np.asarray(values.reshape(batch, -1)[0])


def _channels_first(values: NDArray[np.generic], one: ForeignMap) -> NDArray[np.float32]:
    planes = values[:1].astype(np.float32)
    planes = planes.transpose(0, 3, 1, 2) if one.channels_last else planes
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
