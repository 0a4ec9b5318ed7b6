"""What can go wrong in a measurement."""

__all__ = ["BenchError"]


class BenchError(Exception):
    """A measurement can't be taken, or would say something false; the message says why."""
