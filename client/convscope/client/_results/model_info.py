"""Descriptions of the server's models."""

from dataclasses import dataclass, field

from convscope.client._drawing.html.models import model_html, models_html, sizes
from convscope.client._results.model_parts import (
    Execution,
    ExplanationInfo,
    FeatureMapInfo,
    InputInfo,
    Provenance,
    ProviderCandidate,
    Resize,
)

__all__ = ["ModelInfo", "ModelList", "ModelSummary"]


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
        compute_precision: The precision in which the provider computes FP32 operations,
            such as "fp32" or "bf16"; empty if the server doesn't report it.

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
    compute_precision: str = ""

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
        compute_precision: The precision in which the provider computes FP32 operations,
            such as "fp32" or "bf16"; empty if the server doesn't report it.
        candidates: The providers and precisions from which the server chose the fastest,
            the chosen one first; empty if the provider is set.

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
    compute_precision: str = ""
    candidates: tuple[ProviderCandidate, ...] = ()

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
