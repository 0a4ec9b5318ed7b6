"""Execution providers: which are available, their options, and which one is really used.

The settings need the names and the policies, so that nothing here imports ONNX Runtime.
"""

from convscope.server.runtime.providers.names import (
    AUTO,
    CPU,
    ON_GPU,
    OPTIONS,
    PRECISIONS,
    PROVIDERS,
    unknown_provider,
)
from convscope.server.runtime.providers.policy import ProviderPolicies, ProviderPolicy

__all__ = [
    "AUTO",
    "CPU",
    "ON_GPU",
    "OPTIONS",
    "PRECISIONS",
    "PROVIDERS",
    "ProviderPolicies",
    "ProviderPolicy",
    "unknown_provider",
]
