"""Execution providers: which are to be had, with which options, and what was really used."""

from convscope.server.runtime.providers.engines import Engine, EngineCache
from convscope.server.runtime.providers.names import OPTIONS, PROVIDERS
from convscope.server.runtime.providers.policy import ProviderPolicies, ProviderPolicy
from convscope.server.runtime.providers.session import Session, open_session

__all__ = [
    "OPTIONS",
    "PROVIDERS",
    "Engine",
    "EngineCache",
    "ProviderPolicies",
    "ProviderPolicy",
    "Session",
    "open_session",
]
