"""Execution providers: which are to be had, with which options, and what was really used."""

from convscope.server.providers.engines import Engine, EngineCache
from convscope.server.providers.names import OPTIONS, PROVIDERS
from convscope.server.providers.policy import ProviderPolicies, ProviderPolicy
from convscope.server.providers.session import Session, open_session

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
