"""Descriptions of the server's models."""

from dataclasses import dataclass, field
from datetime import datetime

from convscope.client._drawing.html.models import model_html, models_html, sizes

__all__ = [
    "Execution",
    "ExplanationInfo",
    "FeatureMapInfo",
    "InputInfo",
    "Metric",
    "ModelInfo",
    "ModelList",
    "ModelSummary",
    "Provenance",
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


@dataclass(frozen=True, repr=False)
class ModelSummary:
    """A version in a listing.

    Args:
        model: The model's name.
        version: The version.
        aliases: The aliases that point at this version.
        is_default: Whether requests that choose no version go to this one.
        task: "classification" or "feature_extraction".
        input: Its input.
        num_classes: The number of classes.
        feature_maps: The names of its feature maps.
        provider: The execution provider that runs it, such as "cpu".
        precision: The arithmetic of the graph: "fp32", "fp16" or "int8".
        fallback_from: The preferred provider, if another one runs the graph or a
            part of it; otherwise empty.
        explanation_methods: The methods of the explanations that it offers.

    Example:
        >>> client.models()[0]
        <ModelSummary digits v1: image 28 x 28 x 1, 10 classes, cpu>
    """

    model: str
    version: int
    aliases: tuple[str, ...]
    is_default: bool
    task: str
    input: InputInfo
    num_classes: int
    feature_maps: tuple[str, ...]
    provider: str
    precision: str
    fallback_from: str = ""
    explanation_methods: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<ModelSummary {self.model} v{self.version}: {self.input.kind} "
            f"{sizes(self.input.shape)}, {self.num_classes:,} classes, {self.provider}>"
        )


class ModelList(list[ModelSummary]):
    """A listing of versions, which notebooks show as a table."""

    def _repr_html_(self) -> str:
        return models_html(
            [
                (
                    one.model,
                    ", ".join([f"v{one.version}{' (default)' * one.is_default}", *one.aliases]),
                    sizes(one.input.shape),
                    f"{one.num_classes:,}",
                    f"{len(one.feature_maps)}",
                    f"{one.provider}, {one.precision}",
                )
                for one in self
            ]
        )


@dataclass(frozen=True, repr=False)
class ModelInfo:
    """A version in full.

    Args:
        model: The model's name.
        version: The version.
        aliases: The aliases that point at this version.
        is_default: Whether requests that choose no version go to this one.
        task: "classification" or "feature_extraction".
        input: Its input.
        labels: The name of each class.
        feature_maps: Its feature maps, from the input to the head.
        provider: The execution provider that runs it, such as "cpu".
        precision: The arithmetic of the graph: "fp32", "fp16" or "int8".
        provenance: Its origin.
        execution: How the server runs it; None if the server doesn't report it.
        fallback_from: The preferred provider, if another one runs the graph or a
            part of it; otherwise empty.
        resize: How images are brought to the size of the input; None if the input
            isn't an image.
        preprocessing: How the server and the graph prepare an image, in one line.
        activation: "softmax" if the probabilities of the classes add up to 1;
            "sigmoid" if each class has an independent probability; "none" if the
            model has no classes.
        nonfinite_results: Whether the model returns NaN or infinity for some inputs.
            The server reports an error for such an input.
        nonfinite_inputs: Those of the exporter's checks, such as "a black image";
            empty if the bundle doesn't record them.
        explanations: The explanations that it offers; None if it offers none.

    Example:
        >>> client.model("digits")
        <ModelInfo digits v1: image 28 x 28 x 1, 10 classes, 4 feature maps, cpu>
    """

    model: str
    version: int
    aliases: tuple[str, ...]
    is_default: bool
    task: str
    input: InputInfo
    labels: tuple[str, ...] = field(repr=False)
    feature_maps: tuple[FeatureMapInfo, ...]
    provider: str
    precision: str
    provenance: Provenance
    execution: Execution | None
    fallback_from: str = ""
    resize: Resize | None = None
    preprocessing: str = ""
    activation: str = ""
    nonfinite_results: bool = False
    nonfinite_inputs: tuple[str, ...] = ()
    explanations: ExplanationInfo | None = None

    def __repr__(self) -> str:
        return (
            f"<ModelInfo {self.model} v{self.version}: {self.input.kind} "
            f"{sizes(self.input.shape)}, {len(self.labels):,} classes, "
            f"{len(self.feature_maps)} feature maps, {self.provider}>"
        )

    def _repr_html_(self) -> str:
        origin = self.provenance
        facts = [
            ("aliases", ", ".join(self.aliases)),
            ("input", f"{self.input.kind}, {self.input.dtype} {sizes(self.input.shape)}"),
            ("preprocessing", self.preprocessing),
            ("probabilities", self.activation if self.labels else ""),
            ("explanations", ", ".join(self.explanations.methods) if self.explanations else ""),
            ("runs on", f"{self.provider}, {self.precision}"),
            ("architecture", origin.architecture),
            ("parameters", f"{origin.parameters:,}" if origin.parameters else ""),
            ("weights", origin.weights),
            ("license", origin.weights_license),
            ("dataset", origin.dataset),
            *((metric.name, f"{metric.value:.4f} on {metric.split}") for metric in origin.metrics),
        ]
        maps = [
            (one.name, sizes((one.channels, one.height, one.width)), f"{one.stride:g}")
            for one in self.feature_maps
        ]
        return model_html(f"{self.model} v{self.version}", facts, self.labels, maps)
