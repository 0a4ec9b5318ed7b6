"""How one version is run: how many batches at once, their threads, and their size."""

from dataclasses import dataclass

__all__ = ["INLINE_SECONDS", "Execution", "ExecutionOverrides"]

# A shorter batch takes less time than a switch to another thread and back.
INLINE_SECONDS = 350e-6


@dataclass(frozen=True, slots=True)
class Execution:
    """How a version is run.

    Args:
        runners: Batches run at once; 0 runs them on the event loop itself.
        threads: Threads of one run while others are in progress.
        lone_threads: Threads of a single run.
        max_batch: Images of one batch.
        reason: The measurement, or that it was set by flags.
        inline: Whether a batch shorter than `INLINE_SECONDS` runs on the event loop.
    """

    runners: int
    threads: int
    lone_threads: int
    max_batch: int
    reason: str
    inline: bool = False


@dataclass(frozen=True, slots=True)
class ExecutionOverrides:
    """What the operator has set; None leaves it to a measurement.

    Args:
        cores: The cores that may be used.
        runners: As in `Execution`.
        threads: Threads of any run.
        max_batch: As in `Execution`.
        measure: Whether the rest is measured; otherwise it has defaults.
    """

    cores: int
    runners: int | None = None
    threads: int | None = None
    max_batch: int | None = None
    measure: bool = True

    @property
    def complete(self) -> bool:
        """Whether nothing is left to measure."""
        return None not in (self.runners, self.threads, self.max_batch)

    def over(self, other: Execution) -> Execution:
        """Replace measured values or defaults by those that the operator has set."""
        return Execution(
            runners=other.runners if self.runners is None else self.runners,
            threads=self.threads or other.threads,
            lone_threads=self.threads or other.lone_threads,
            max_batch=self.max_batch or other.max_batch,
            reason=other.reason,
            inline=other.inline and self.runners is None,
        )
