"""The parts of a model's description."""

from dataclasses import dataclass
from datetime import datetime

__all__ = [
    "Execution",
    "ExplanationInfo",
    "FeatureMapInfo",
    "InputInfo",
    "Metric",
    "Provenance",
    "ProviderCandidate",
    "Resize",
]


@dataclass(frozen=True)
class InputInfo:
    """The input of a model.

    Args:
        name: The name of the graph's input.
        kind: "image" or "tensor".
        dtype: The element type of a `Tensor`, such as "uint8".
        shape: The shape of a `Tensor`; [height, width, channels] for an image.

    Example:
        >>> info = client.model("efficientnet_lite0")
        >>> info.input
        InputInfo(name='images', kind='image', dtype='uint8', shape=(224, 224, 3))
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Resize:
    """How an image of any size is brought to the size of the input.

    There are three ways. The shorter edge gets a length, or both edges get one, and the
    input is then cut from the center. Or the whole image is made to fit into the input,
    and padding fills the rest.

    Args:
        shortest_edge: The length of the shorter edge in pixels; otherwise 0.
        height: The height in pixels, if both edges get a length; otherwise 0.
        width: The width in pixels, likewise.
        padding: The color of the padding, 0 to 255 for each channel; empty without padding.
        placement: Where the image is on the padding: "center" or "top-left"; empty
            without padding.

    Example:
        >>> info = client.model("efficientnet_lite0")
        >>> info.resize.shortest_edge
        256
    """

    shortest_edge: int = 0
    height: int = 0
    width: int = 0
    padding: tuple[int, ...] = ()
    placement: str = ""


@dataclass(frozen=True)
class FeatureMapInfo:
    """A feature map that a model can return.

    Args:
        name: Its name in requests.
        channels: The number of channels.
        height: The height in cells.
        width: The width in cells.
        stride: The distance in input pixels between two neighboring cells.

    Example:
        >>> info = client.model("efficientnet_lite0")
        >>> info.feature_maps[0]
        FeatureMapInfo(name='blocks.0', channels=16, height=112, width=112, stride=2.0)
    """

    name: str
    channels: int
    height: int
    width: int
    stride: float


@dataclass(frozen=True)
class ExplanationInfo:
    """The explanations that a version offers, and their limits.

    Args:
        methods: The methods, such as "grad-cam", the recommended one first.
        tensor: The tensor of the graph that all but "occlusion" explain; empty if only
            "occlusion" is offered.
        positions: The shape of their heat, [height, width] for an image; empty if only
            "occlusion" is offered.
        max_explanations: The largest number of explanations of one request.
        max_rank: The largest position of a `Rank`.
        max_occluded_images: The largest number of squares of one request: cells * cells
            of each grid, for each image.

    Example:
        >>> info = client.model("efficientnet_lite0")
        >>> info.explanations.methods
        ('grad-cam', 'cam', 'eigen-cam', 'occlusion')
    """

    methods: tuple[str, ...]
    tensor: str
    positions: tuple[int, ...]
    max_explanations: int
    max_rank: int
    max_occluded_images: int


@dataclass(frozen=True)
class Metric:
    """A measured figure, and the data that it was measured on.

    Example:
        >>> client.model("digits").provenance.metrics[0].value > 0.9
        True
    """

    name: str
    value: float
    split: str


@dataclass(frozen=True)
class Provenance:
    """The origin of a model; unknown fields are empty.

    Example:
        >>> info = client.model("efficientnet_lite0")
        >>> info.provenance.weights_license
        'Apache-2.0'
    """

    architecture: str
    weights: str
    weights_license: str
    dataset: str
    metrics: tuple[Metric, ...]
    parameters: int
    torch_version: str
    onnx_version: str
    convscope_version: str
    created_at: datetime | None
    parent: str


@dataclass(frozen=True)
class ProviderCandidate:
    """A provider and a precision that the server measured at load.

    Args:
        provider: The execution provider.
        compute_precision: The precision in which it computes FP32 operations.
        images_per_second: What was measured; 0 if it was rejected.
        relative_speed: The same, relative to the most exact candidate, which is the CPU
            provider if it passes.
        problem: Why it was rejected; empty if it passed.

    Example:
        >>> client.model("efficientnet_lite0").candidates
        ()
    """

    provider: str
    compute_precision: str
    images_per_second: float
    relative_speed: float
    problem: str = ""


@dataclass(frozen=True)
class Execution:
    """How the server runs a version, and why.

    Args:
        runners: How many batches run at once; 0 if all run on the server's
            event loop itself.
        threads: The threads of a run while others are running.
        lone_threads: The threads of a run while no other is running.
        max_batch: The largest batch, in images.
        reason: The measurement behind these values, or that they were set.
        inline: Whether the shortest batches run on the server's event loop.

    Example:
        >>> info = client.model("efficientnet_lite0")
        >>> info.execution.runners >= 0
        True
    """

    runners: int
    threads: int
    lone_threads: int
    max_batch: int
    reason: str
    inline: bool = False
