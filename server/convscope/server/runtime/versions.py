"""A version that passed every gate."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from convscope.bundle.clear_results import has_independent_classes
from convscope.server.runtime.execution import Execution
from convscope.server.runtime.figures import Figures
from convscope.server.runtime.model import Model
from convscope.v1 import manifest_pb2 as pb

__all__ = [
    "Candidate",
    "Crop",
    "DecodeCost",
    "ImagePreprocessor",
    "LoadedVersion",
    "PreprocessorFactory",
    "label_bytes",
]


@dataclass(frozen=True, slots=True)
class DecodeCost:
    """What decoding one image takes, by its header.

    Args:
        pixels: The pixels that are decoded, before any decoding to scale.
        memory_bytes: The peak of the memory, without the encoded bytes.
        header: The header, so that `decode` doesn't read it again.
    """

    pixels: int
    memory_bytes: int
    header: Any = field(default=None, compare=False, repr=False)


class Crop(NamedTuple):
    """The part of an image that becomes a graph's input, in pixels of the upright image.

    Args:
        left: Its left edge.
        top: Its upper edge.
        right: Its right edge.
        bottom: Its lower edge.
        width: The width of the whole image.
        height: The height of the whole image.
    """

    left: float
    top: float
    right: float
    bottom: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider and a precision from which the fastest was chosen.

    Args:
        provider: The provider.
        precision: The precision of its FP32 operations.
        images_per_second: What was measured at load; 0 if it was rejected.
        relative_speed: That, relative to the most exact candidate.
        problem: Why it was rejected; empty if it passed.
    """

    provider: str
    precision: str
    images_per_second: float = 0.0
    relative_speed: float = 0.0
    problem: str = ""


class ImagePreprocessor(Protocol):
    """Converts images to a graph's input, uint8 [height, width, channels]."""

    def cost(self, data: bytes | memoryview, /) -> DecodeCost:
        """Return what decoding an encoded image takes; fast enough for the event loop.

        Raises:
            InvalidInputError: It can't be decoded, or exceeds a limit.
        """

    def decode(
        self, data: bytes | memoryview, cost: DecodeCost | None = None, /
    ) -> NDArray[np.uint8]:
        """Convert an encoded image.

        Args:
            data: Its bytes.
            cost: Its cost, if it is known.

        Raises:
            InvalidInputError: It can't be decoded, or exceeds a limit.
        """

    def prepare(self, pixels: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        """Convert a decoded image of any size.

        Raises:
            InvalidInputError: It exceeds a limit.
        """

    def decode_with_crop(
        self, data: bytes | memoryview, cost: DecodeCost | None = None, /
    ) -> tuple[NDArray[np.uint8], Crop]:
        """Convert an encoded image like `decode`, and return which part of it was converted."""

    def prepare_with_crop(self, pixels: NDArray[np.uint8], /) -> tuple[NDArray[np.uint8], Crop]:
        """Convert a decoded image like `prepare`, and return which part of it was converted."""


# Given the manifest's preprocessing and the height and width of the graph's input.
PreprocessorFactory = Callable[[pb.Preprocessing, int, int], ImagePreprocessor]


def label_bytes(labels: Sequence[str]) -> tuple[int, ...]:
    """Return the largest sizes that the names of no class, one class, two classes etc. can have."""
    sizes = sorted((len(label.encode()) for label in labels), reverse=True)
    return tuple(accumulate(sizes, initial=0))


@dataclass(frozen=True, eq=False)
class LoadedVersion:
    """A version that passed every gate.

    Args:
        model: Its sessions.
        preprocessor: Converts an image to its input; None for tensors.
        figures: What its validation measured.
        candidates: What its provider was chosen from, the chosen one first; empty if the operator
            has named it.
    """

    model: Model
    preprocessor: ImagePreprocessor | None
    figures: Figures = field(default_factory=Figures)
    candidates: Sequence[Candidate] = ()
    derived: dict[Hashable, Any] = field(default_factory=dict, init=False)
    """What others compute from it once, each under a key of its own."""

    @property
    def manifest(self) -> pb.ModelManifest:
        """The manifest of its bundle."""
        return self.model.manifest

    @property
    def execution(self) -> Execution:
        """How it is run."""
        return self.model.execution

    @property
    def memory_bytes(self) -> int:
        """Roughly how much memory its sessions take."""
        return self.model.memory_bytes

    @property
    def is_outdated(self) -> bool:
        """Whether the same files could now run on a better provider."""
        return self.model.is_outdated

    @property
    def is_explained(self) -> bool:
        """Whether its graph explains classes, on its provider."""
        return self.manifest.HasField("explanation") and self.model.unexplained is None

    # Read once, because reading a protobuf field for every call is slow.

    @cached_property
    def key(self) -> tuple[str, int]:
        """The model's name and the version."""
        return self.manifest.model, self.manifest.version

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The name of each class."""
        return tuple(self.manifest.labels)

    @cached_property
    def has_independent_classes(self) -> bool:
        """Whether each class has a probability of its own, so that a result can name several."""
        return has_independent_classes(self.manifest)

    @cached_property
    def label_bytes(self) -> tuple[int, ...]:
        """The largest sizes that the names of so many classes can have."""
        return label_bytes(self.labels)

    @cached_property
    def input_dtype(self) -> int:
        """The type of the graph's input."""
        return self.manifest.input.dtype

    @cached_property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the graph's input, without the batch dimension."""
        return tuple(self.manifest.input.shape)
