"""Execution providers: which are available, their options, and which one is really used."""

from convscope.server.runtime.providers.engines import Engine, EngineCache
from convscope.server.runtime.providers.names import (
    CPU,
    ON_GPU,
    OPTIONS,
    PROVIDERS,
    unknown_provider,
)
from convscope.server.runtime.providers.policy import ProviderPolicies, ProviderPolicy
from convscope.server.runtime.providers.session import Session, open_session

__all__ = [
    "CPU",
    "ON_GPU",
    "OPTIONS",
    "PROVIDERS",
    "Engine",
    "EngineCache",
    "ProviderPolicies",
    "ProviderPolicy",
    "Session",
    "open_session",
    "unknown_provider",
]
