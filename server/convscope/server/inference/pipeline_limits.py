"""The limits of one version's pipeline, which the settings set."""

from dataclasses import dataclass

__all__ = ["PipelineLimits"]


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """The sizes of one version's queues and pools.

    Args:
        max_queue: Images of each priority that may wait to be decoded, and as
            many that may wait for a runner; fewer of large ones.
        max_delay_seconds: How long a free runner waits for a fuller batch.
        decode_workers: Images decoded at once.
    """

    max_queue: int
    max_delay_seconds: float
    decode_workers: int
