"""The arguments and the results of the clients."""

from convscope.client._inputs.arguments import (
    FeatureMapDType,
    FeatureMapSelection,
    ImageLike,
    Priority,
    Tensor,
)
from convscope.client._inputs.explain import (
    ClassLike,
    Explain,
    ExplainLike,
    ExplanationDType,
    ExplanationMethod,
    Rank,
)
from convscope.client._results.classification import Classification, StageSeconds
from convscope.client._results.collection import Results
from convscope.client._results.explanation import ClassScore, Explanation
from convscope.client._results.feature_map import FeatureMap
from convscope.client._results.image_crop import ImageCrop
from convscope.client._results.model_info import ModelInfo, ModelSummary
from convscope.client._results.model_parts import (
    Execution,
    ExplanationInfo,
    FeatureMapInfo,
    InputInfo,
    Metric,
    Provenance,
    ProviderCandidate,
    Resize,
)
from convscope.client._results.server_info import Health, ServerInfo, ServerLimits
from convscope.client._results.stream import AsyncResultStream, ResultStream

__all__ = [
    "AsyncResultStream",
    "ClassLike",
    "ClassScore",
    "Classification",
    "Execution",
    "Explain",
    "ExplainLike",
    "Explanation",
    "ExplanationDType",
    "ExplanationInfo",
    "ExplanationMethod",
    "FeatureMap",
    "FeatureMapDType",
    "FeatureMapInfo",
    "FeatureMapSelection",
    "Health",
    "ImageCrop",
    "ImageLike",
    "InputInfo",
    "Metric",
    "ModelInfo",
    "ModelSummary",
    "Priority",
    "Provenance",
    "ProviderCandidate",
    "Rank",
    "Resize",
    "ResultStream",
    "Results",
    "ServerInfo",
    "ServerLimits",
    "StageSeconds",
    "Tensor",
]
