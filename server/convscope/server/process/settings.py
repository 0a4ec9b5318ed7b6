"""Settings of the server's processes and of their end."""

from dataclasses import dataclass

__all__ = ["ProcessSettings"]


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """How many processes serve, and how they end.

    Args:
        workers: Processes that share the port.
        drain_seconds: After SIGTERM, how long new calls are accepted.
        grace_seconds: After that, how long calls in flight may take.
    """

    workers: int = 1
    drain_seconds: float = 3.0
    grace_seconds: float = 20.0
