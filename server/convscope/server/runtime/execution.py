"""How one version is run: how many batches at once, with how many threads, of what size."""

from dataclasses import dataclass

__all__ = ["Execution", "ExecutionOverrides"]


@dataclass(frozen=True, slots=True)
class Execution:
    """How a version is run.

    Args:
        runners: Batches run at once; 0 runs them on the event loop itself.
        threads: Threads of one run while others are under way.
        lone_threads: Threads of a run that is alone.
        max_batch: Images of one batch.
        reason: Why: what was measured, or that it was set.
    """

    runners: int
    threads: int
    lone_threads: int
    max_batch: int
    reason: str


@dataclass(frozen=True, slots=True)
class ExecutionOverrides:
    """What the operator set of it; None leaves it to a measurement.

    Args:
        cores: The cores that may be used.
        runners: As in `Execution`.
        threads: Threads of any run.
        max_batch: As in `Execution`.
        measure: Whether what is left open is measured; otherwise it is one
            runner with all cores and batches of 8.
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

    def without_measuring(self) -> Execution:
        """Fill what is left open with what is never bad."""
        threads = self.threads or self.cores
        return Execution(
            runners=1 if self.runners is None else self.runners,
            threads=threads,
            lone_threads=threads,
            max_batch=self.max_batch or 8,
            reason="set by flags" if self.complete else "defaults: measuring is off",
        )

    def over(self, measured: Execution) -> Execution:
        """Put what was set in the place of what was measured."""
        return Execution(
            runners=measured.runners if self.runners is None else self.runners,
            threads=self.threads or measured.threads,
            lone_threads=self.threads or measured.lone_threads,
            max_batch=self.max_batch or measured.max_batch,
            reason=measured.reason,
        )
