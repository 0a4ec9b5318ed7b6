"""The error of a measurement."""

__all__ = ["BenchError", "TooFewCallsError"]


class BenchError(Exception):
    """A measurement failed or would be misleading. The message has the reason."""


class TooFewCallsError(BenchError):
    """Too few calls completed to compute a rate: the machine or the network is too slow."""
