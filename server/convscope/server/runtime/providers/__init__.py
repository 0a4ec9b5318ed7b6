"""Execution providers: which are available, their options, and which one is really used.

The settings need the names and the policies, so that nothing here imports ONNX Runtime.
"""

from convscope.server.runtime.providers.names import (
    CPU,
    ON_GPU,
    OPTIONS,
    PROVIDERS,
    unknown_provider,
)
from convscope.server.runtime.providers.policy import ProviderPolicies, ProviderPolicy

__all__ = [
    "CPU",
    "ON_GPU",
    "OPTIONS",
    "PROVIDERS",
    "ProviderPolicies",
    "ProviderPolicy",
    "unknown_provider",
]
