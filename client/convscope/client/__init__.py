"""The Convscope client: it gets classes and feature maps of images from a server.

from convscope.client import Client

with Client("localhost:8001") as client:
    result = client.classify("cat.jpg", model="efficientnet_lite0")
    print(result.top.label, result.top.probability)
"""

from inspect import isclass as _isclass
from inspect import isfunction as _isfunction

from convscope.client._calls.admin_client import (
    AdminClient,
    ModelStatus,
    TrafficSplit,
    VersionStatus,
)
from convscope.client._calls.async_client import AsyncClient
from convscope.client._calls.client import Client
from convscope.client._connection.retries import Retries
from convscope.client._inputs.from_float import from_float
from convscope.client.errors import (
    ConvscopeError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
    UnknownNameError,
)
from convscope.client.types import (
    AsyncResultStream,
    Classification,
    ClassLike,
    ClassScore,
    Execution,
    Explain,
    ExplainLike,
    Explanation,
    ExplanationInfo,
    FeatureMap,
    FeatureMapInfo,
    FeatureMapSelection,
    Health,
    ImageCrop,
    ImageLike,
    InputInfo,
    Metric,
    ModelInfo,
    ModelSummary,
    Priority,
    Provenance,
    ProviderCandidate,
    Rank,
    Resize,
    Results,
    ResultStream,
    ServerInfo,
    ServerLimits,
    StageSeconds,
    Tensor,
)

__all__ = [
    "AdminClient",
    "AsyncClient",
    "AsyncResultStream",
    "ClassLike",
    "ClassScore",
    "Classification",
    "Client",
    "ConvscopeError",
    "DeadlineExceededError",
    "Execution",
    "Explain",
    "ExplainLike",
    "Explanation",
    "ExplanationInfo",
    "FailedPreconditionError",
    "FeatureMap",
    "FeatureMapInfo",
    "FeatureMapSelection",
    "Health",
    "ImageCrop",
    "ImageLike",
    "InputInfo",
    "InternalError",
    "InvalidInputError",
    "Metric",
    "ModelInfo",
    "ModelStatus",
    "ModelSummary",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "Priority",
    "Provenance",
    "ProviderCandidate",
    "Rank",
    "Resize",
    "ResultStream",
    "Results",
    "Retries",
    "ServerInfo",
    "ServerLimits",
    "StageSeconds",
    "Tensor",
    "TrafficSplit",
    "UnauthenticatedError",
    "UnavailableError",
    "UnknownNameError",
    "VersionStatus",
    "from_float",
]

# The names that users see in help, errors and tracebacks: not those of private modules.
for _name in __all__:
    _value = globals()[_name]
    if _isclass(_value) or _isfunction(_value):
        _value.__module__ = __name__
