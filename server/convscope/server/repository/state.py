"""The state of a model's versions, as data."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic

from convscope.bundle.traffic import Traffic
from convscope.server.repository.loader import V
from convscope.server.repository.rejection import Rejection
from convscope.server.repository.scan import ModelOnDisk, Signature

__all__ = ["Attempt", "CatalogedModel", "Observed", "Routing"]

# The pause before a transient failure is retried; it doubles with each further failure.
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 600.0
_MAX_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last attempt to load a version.

    Args:
        files: The version's files at that time; None once it is to be retried.
        rejection: Why it failed; None after a success.
        failures: How many attempts failed since the last success.
        retry_at: When to retry with the same files, by the manager's clock;
            None for never.
    """

    files: Signature | None
    rejection: Rejection | None = None
    failures: int = 0
    retry_at: float | None = None

    def is_due(self, now: float) -> bool:
        """Whether to retry with the same files now."""
        return self.retry_at is not None and now >= self.retry_at

    @classmethod
    def failed(
        cls, previous: "Attempt | None", files: Signature, rejection: Rejection, now: float
    ) -> "Attempt":
        """Return a failed attempt that follows another one."""
        earlier = previous.failures if previous else 0
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(earlier, _MAX_DOUBLINGS), LONGEST_PAUSE_SECONDS)
        return cls(files, rejection, earlier + 1, now + pause if rejection.transient else None)


@dataclass(frozen=True, slots=True)
class Routing:
    """Where the requests for a model go.

    Args:
        aliases: The version of each alias.
        traffic: The traffic splits.
        candidates: The versions that can be the default. A version that serves
            only because an alias or a traffic split names it is not among them.
        unloaded: The versions that serve and are loaded on demand, loaded now or not.
        problems: What aliases and traffic splits name and can't have, in sentences.
    """

    aliases: Mapping[str, int] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    candidates: frozenset[int] = frozenset()
    unloaded: frozenset[int] = frozenset()
    problems: tuple[str, ...] = ()

    def default(self, serving: Collection[int]) -> int | None:
        """Return the version for requests without a version or alias, of those that serve."""
        return max(self.candidates & set(serving) or serving, default=None)

    def targets(self, serving: Collection[int]) -> dict[str, int | None]:
        """Return the version behind each name that a request can have, or that a split has."""
        splits = {f"{kind}:": split.version(self.aliases) for kind, split in self.traffic}
        return {**self.aliases, **splits, "": self.default(serving)}


@dataclass(frozen=True, slots=True)
class Observed:
    """The state of one model.

    Args:
        on_disk: Its versions, aliases and traffic splits on disk.
        loaded: The versions that are loaded.
        outdated: Those of them that could now run on a better provider.
        attempts: The last attempt to load each version.
        unfetched: The versions of a remote that were rejected before they were on disk.
        routing: Where requests go now.
        now: The time by the manager's clock. Two states that differ in nothing
            else are equal.
    """

    on_disk: ModelOnDisk = field(default_factory=ModelOnDisk)
    loaded: frozenset[int] = frozenset()
    outdated: frozenset[int] = frozenset()
    attempts: Mapping[int, Attempt] = field(default_factory=dict)
    unfetched: frozenset[int] = frozenset()
    routing: Routing = field(default_factory=Routing)
    now: float = field(default=0.0, compare=False)

    @property
    def must_retry(self) -> bool:
        """Whether the pause after a transient failure is over."""
        return any(attempt.is_due(self.now) for attempt in self.attempts.values())

    @property
    def rejected(self) -> set[int]:
        """The versions whose last attempt failed, and those that weren't fetched."""
        failed = {number for number, attempt in self.attempts.items() if attempt.rejection}
        return failed | self.unfetched

    def is_current(self, version: int) -> bool:
        """Whether the last attempt was made with the files that are on disk now."""
        attempt = self.attempts.get(version)
        return attempt is not None and attempt.files == self.on_disk.versions.get(version)


@dataclass
class CatalogedModel(Generic[V]):
    """The state of one model.

    Args:
        ready: The loaded versions.
        attempts: The last attempt to load each version.
        unfetched: The versions of a remote that were rejected before they were on disk.
        routing: Where requests go.
    """

    ready: dict[int, V] = field(default_factory=dict)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    unfetched: dict[int, Rejection] = field(default_factory=dict)
    routing: Routing = field(default_factory=Routing)

    @property
    def serving(self) -> set[int]:
        """The versions that serve, after a load if necessary."""
        return self.ready.keys() | self.routing.unloaded

    @property
    def default(self) -> int | None:
        """The version for requests without a version or alias, if one serves."""
        return self.routing.default(self.serving)

    @property
    def rejected(self) -> dict[int, Rejection]:
        """Why other versions don't serve."""
        failed = {n: a.rejection for n, a in self.attempts.items() if a.rejection is not None}
        return failed | self.unfetched

    def observe(self, on_disk: ModelOnDisk, now: float = 0.0) -> Observed:
        """Return the state that a plan starts from; later changes don't reach it."""
        return Observed(
            on_disk,
            frozenset(self.ready),
            frozenset(n for n, version in self.ready.items() if version.is_outdated),
            dict(self.attempts),
            frozenset(self.unfetched),
            self.routing,
            now,
        )
