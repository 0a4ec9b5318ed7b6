"""A foreign graph as it came, run image by image: what the bundle is held against."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.exporter.errors import ExporterError, ParityError
from convscope.exporter.foreign.graph import ImageInput
from convscope.exporter.foreign.join import TINY, ForeignMap, Head, Normalization
from convscope.exporter.graphs.comparison import (
    BATCHES,
    TOLERANCE,
    OutputDifference,
    check_tolerance,
    compare,
    softmax,
    worst,
)
from convscope.exporter.graphs.sessions import Arrays, open_graph, run_graph, run_session

__all__ = ["Original", "check_parity"]

# How far from 1 the probabilities of an image may add up to.
SUM_TOLERANCE = 1e-2


class Original:
    """Runs a foreign graph on uint8 images, normalised by numpy.

    Args:
        model: The graph, as it came.
        image: Its input.
        normalization: What it expects of pixels.
        head: Where it says the classes.
        maps: Its tensors that become feature maps.

    Raises:
        ExporterError: ONNX Runtime can't run it.
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
            float32 [n, channels, height, width], each by its name.
        """
        each = [self._run_one(image) for image in images]
        return {name: np.concatenate([one[name] for one in each]) for name in each[0]}

    def check_activation(self, found: Arrays, said: str | None) -> None:
        """Refuse an activation that what was found speaks against.

        Raises:
            ExporterError: The output isn't what it was said, or taken, to be.
        """
        values = found["probabilities" if self._head.probable else "logits"]
        looks = bool((values >= 0).all() and np.abs(values.sum(axis=1) - 1).max() < SUM_TOLERANCE)
        if self._head.probable and not looks:
            raise ExporterError(
                "the graph's numbers don't add up to 1 for an image, so they are no probabilities "
                "of all classes; say --activation softmax or sigmoid"
            )
        if said is None and looks:
            raise ExporterError(
                "the graph's numbers add up to 1 for every image, so they may be probabilities "
                "already; say --activation none if they are, or softmax if they are logits"
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
        if self._head.probable:
            return {"logits": np.log(np.maximum(values, TINY)), "probabilities": values}
        if self._head.activation == "softmax":
            return {"logits": values, "probabilities": softmax(values)}
        return {"logits": values, "probabilities": (1 / (1 + np.exp(-values))).astype(np.float32)}


def _channels_first(values: NDArray[np.float32], one: ForeignMap) -> NDArray[np.float32]:
    planes = values.transpose(0, 3, 1, 2) if one.channels_last else values
    if planes.shape[1:] != one.shape:
        raise ParityError(f"{one.tensor!r} is {list(planes.shape[1:])}, inferred {list(one.shape)}")
    return planes


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Copy a model, with tensors from inside it among its outputs."""
    known = {value.name for value in model.graph.output}
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return shown


def check_parity(
    joined: onnx.ModelProto, images: NDArray[np.uint8], expected: Arrays
) -> list[OutputDifference]:
    """Hold every output, in batches, against the original's, image by image.

    Args:
        joined: The graph by the contract.
        images: uint8 [n, H, W, C], at least as many as the largest batch.
        expected: What the original gave for them.

    Returns:
        The worst difference of each output.

    Raises:
        ParityError: An output differs by more than the tolerance, the best
            class is another one, or the graph can't take a batch.
    """
    session = open_graph(joined.SerializeToString())
    found = []
    for batch in BATCHES:
        differences = worst(_differences(batch, images, expected, partial(run_graph, session)))
        check_tolerance(differences, f"the joined graph, at batch {batch},", "the original")
        found.extend(differences)
    return worst(found)


def _differences(
    batch: int,
    images: NDArray[np.uint8],
    expected: Arrays,
    run: Callable[[NDArray[np.uint8]], Arrays],
) -> Iterator[OutputDifference]:
    for start in range(0, len(images) - batch + 1, batch):
        rows = slice(start, start + batch)
        try:
            ours = run(images[rows])
        except ExporterError as error:
            raise ParityError(
                f"the graph can't answer {batch} images at once, which a server needs: {error}; "
                "export it again with a dynamic batch"
            ) from error
        for name, values in expected.items():
            if len(ours[name]) != batch:
                raise ParityError(
                    f"the graph answers {batch} images with {len(ours[name])} of {name!r}: it "
                    "fixes its batch within; export it again with a dynamic batch"
                )
            yield OutputDifference(name, values.shape[1:], compare(name, ours[name], values[rows]))
        _check_best(ours["logits"], expected["logits"][rows])


def _check_best(ours: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """The same best class, or one that is as good: some graphs give equal logits."""
    rows = np.arange(len(ours))
    lost = expected.max(axis=1) - expected[rows, ours.argmax(axis=1)]
    if (lost > TOLERANCE * np.abs(expected).max()).any():
        raise ParityError("the best class of an image differs from the original's")
