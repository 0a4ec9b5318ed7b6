"""The replies of the HTTP API. They document it; the tests compare real replies with them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ClassifyReply",
    "ErrorReply",
    "HealthReply",
    "JsonImages",
    "LabelsReply",
    "ModelReply",
    "ModelsReply",
    "OpenInferenceError",
    "ReadyReply",
]


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class ErrorInfo(_Reply):
    """Why a request, or one of its images, failed."""

    code: str = Field(description="The name of the gRPC status code.", examples=["NOT_FOUND"])
    message: str = Field(description="The wrong value, what is allowed, and the repair.")


class ErrorReply(_Reply):
    """The body of every failed request."""

    error: ErrorInfo


class OpenInferenceError(_Reply):
    """The body of every failed request of the Open Inference Protocol."""

    error: str


class HealthReply(_Reply):
    """The state of the web process."""

    status: Literal["ok"]


class ReadyReply(_Reply):
    """Whether the gRPC server behind the web process is ready."""

    ready: bool
    server: str = Field(description="The address of the gRPC server.", examples=["localhost:8001"])
    reason: str = Field(description="Why it isn't ready; otherwise empty.")


class VersionState(_Reply):
    """One version of a model."""

    version: int
    state: Literal["ready", "unloaded", "rejected"] = Field(
        description="An unloaded version is loaded on the first request."
    )
    provider: str = Field(description="The execution provider of a ready version; otherwise empty.")
    reason: str = Field(description="Why the version isn't ready; otherwise empty.")


class ModelState(_Reply):
    """One model of the server."""

    name: str = Field(examples=["efficientnet_lite0"])
    state: Literal["ready", "unloaded", "rejected"] = Field(description="The best of its versions.")
    ready: bool = Field(description="Whether a request for it is served.")
    default_version: int | None = Field(
        description="The version of requests that name none; null if no version is ready."
    )
    versions: list[VersionState] = Field(description="The latest first.")
    aliases: dict[str, int] = Field(description="The version of each alias.")


class ModelsReply(_Reply):
    """All models of the server, by name."""

    models: list[ModelState]


class Input(_Reply):
    """The input of a model. Images of any size are resized and cropped by the server."""

    kind: Literal["image", "tensor"]
    dtype: str = Field(description="The type of the elements.", examples=["uint8"])
    shape: list[int] = Field(description="[height, width, channels] for an image.")
    height: int | None
    width: int | None
    channels: int | None


class FeatureMapInfo(_Reply):
    """A feature map that a model can return."""

    name: str = Field(examples=["stage3"])
    shape: list[int] = Field(description="[channels, height, width]")
    stride: float = Field(description="Pixels of the input between two neighboring cells.")
    stage: int = Field(description="Counts the resolutions, from 1 at the input.")
    is_stage: bool = Field(description="Whether it is the last one of its resolution.")


class ExplanationInfo(_Reply):
    """The explanations that a version offers."""

    methods: list[str] = Field(description="The recommended method first.", examples=["grad-cam"])
    heat: list[int] = Field(
        description="[height, width] of the heat; empty if only occlusion is offered."
    )
    max_explanations: int = Field(description="The most explanations of one request.")
    max_rank: int = Field(description="The largest rank of a class.")
    max_occluded_images: int = Field(description="The most squares of one request by occlusion.")
    reason: str = Field(description="Why there are none; otherwise empty.")


class Metric(_Reply):
    """A measured figure."""

    name: str
    value: float
    split: str = Field(description="The data that it was measured on.")


class Provenance(_Reply):
    """The origin of a model. Unknown fields are empty."""

    architecture: str
    weights: str
    weights_license: str
    dataset: str
    parameters: int
    torch_version: str
    onnx_version: str
    convscope_version: str
    created_at: str | None
    parent: str


class Execution(_Reply):
    """How the server runs the version."""

    runners: int
    threads: int
    lone_threads: int
    max_batch: int
    reason: str
    inline: bool


class Limits(_Reply):
    """The limits of a request."""

    max_body_bytes: int
    max_image_bytes: int
    max_images: int
    timeout_seconds: float = Field(description="The time of a request that states none.")
    max_timeout_seconds: float


class ModelReply(_Reply):
    """One version of a model in full."""

    name: str
    version: int
    aliases: list[str]
    is_default: bool
    task: Literal["classification", "feature_extraction"]
    labels: int = Field(description="How many classes there are; GET .../labels lists them.")
    activation: str = Field(description="softmax, sigmoid or none", examples=["softmax"])
    input: Input
    preprocessing: list[str] = Field(
        description="How an image becomes the input of the network, step by step.",
        examples=[["pixels/255", "shorter edge 256", "center crop 224", "RGB"]],
    )
    feature_maps: list[FeatureMapInfo] = Field(description="From the input to the head.")
    explanations: ExplanationInfo
    provider: str = Field(examples=["cpu"])
    fallback_from: str = Field(
        description="The preferred provider, if another one runs a part of the graph."
    )
    precision: str = Field(examples=["fp32"])
    compute_precision: str = Field(
        description="The precision in which the provider computes FP32 operations.",
        examples=["fp32"],
    )
    nonfinite_inputs: list[str] = Field(description="Inputs for which it returns NaN.")
    execution: Execution | None
    provenance: Provenance
    metrics: list[Metric]
    limits: Limits


class LabelsReply(_Reply):
    """The name of each class, by index."""

    labels: list[str]


class Prediction(_Reply):
    """One class and its probability."""

    index: int
    label: str
    probability: float


class Crop(_Reply):
    """The part of the upright photo that the network saw, in pixels."""

    x: float
    y: float
    width: float
    height: float
    photo_width: int
    photo_height: int


class Channel(_Reply):
    """One channel as a picture."""

    index: int | None = Field(description="Its index in the layer; null for a mean.")
    strength: float = Field(description="The mean of its values.")
    low: float = Field(description="The value of black, the 1st percentile.")
    high: float = Field(description="The value of white, the 99th percentile.")
    png: str = Field(description="An 8-bit gray PNG in base64, one pixel for each cell.")


class PngFeatureMap(_Reply):
    """A feature map as pictures."""

    name: str
    shape: list[int] = Field(description="[C, H, W] of the returned channels")
    channels: list[Channel] = Field(description="By strength, or in the order of `channels`.")


class NpyFeatureMap(_Reply):
    """A feature map as an array."""

    name: str
    shape: list[int] = Field(description="[C, H, W] of the returned channels")
    channels: list[int] = Field(description="The index of each returned channel.")
    npy: str = Field(description="A float32 .npy file in base64.")


class Explanation(_Reply):
    """Which parts of the photo speak for a class."""

    class_index: int
    label: str
    probability: float
    against: Prediction | None = Field(description="The class that it is contrasted with.")
    method: str
    logit: float = Field(description="With a contrast, the difference of both logits.")
    remainder: float | None = Field(description="The part of the logit that the heat lacks.")
    share: float | None = Field(description="The share of the logit that the heat explains.")
    limit: float = Field(description="The heat of the strongest color.")
    shape: list[int] = Field(description="[height, width]")
    values: list[Any] = Field(description="The signed heat, an even grid over the crop.")


class Result(_Reply):
    """The result of one image. If there is an error, the rest is empty."""

    predictions: list[Prediction] = Field(description="The most probable first.")
    crop: Crop | None = Field(description="Set with feature maps and explanations of images.")
    feature_maps: list[PngFeatureMap | NpyFeatureMap]
    explanations: list[Explanation]
    error: ErrorInfo | None = Field(description="Why this image failed, if others succeeded.")


class Timing(_Reply):
    """Milliseconds. The stages are those of the slowest image in the server."""

    total: float = Field(description="From the headers of the request to its reply.")
    decode: float
    queue: float
    infer: float
    encode: float


class ClassifyReply(_Reply):
    """The results of a request, in the order of its images."""

    model: str
    version: int
    provider: str
    results: list[Result]
    timing_ms: Timing


class JsonImages(BaseModel):
    """Images as JSON."""

    images: list[str] = Field(
        description="JPEG, PNG, WebP, BMP or GIF files, or .npy arrays, in base64.",
        min_length=1,
        max_length=64,
    )
