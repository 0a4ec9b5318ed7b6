"""The error of a measurement."""

__all__ = ["BenchError"]


class BenchError(Exception):
    """A measurement failed or would be misleading. The message has the reason."""
