"""What to do so that a model serves what is desired: a decision without effects.

`plan` compares what is desired of a model with what is observed of it. The
manager executes the actions, and plans again after each load, because a
rejected version gives its place to the next older one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from convscope.bundle.traffic import Traffic
from convscope.server.repository.desired import Desired
from convscope.server.repository.disk import ModelOnDisk, Signature
from convscope.server.repository.rejection import Rejection

__all__ = [
    "Action",
    "Attempt",
    "Forget",
    "Load",
    "Observed",
    "Retire",
    "Retry",
    "Route",
    "Routing",
    "desired_versions",
    "plan",
]

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
        now: The time by the manager's clock.
    """

    on_disk: ModelOnDisk = field(default_factory=ModelOnDisk)
    loaded: frozenset[int] = frozenset()
    outdated: frozenset[int] = frozenset()
    attempts: Mapping[int, Attempt] = field(default_factory=dict)
    unfetched: frozenset[int] = frozenset()
    routing: Routing = field(default_factory=Routing)
    now: float = 0.0

    @property
    def rejected(self) -> set[int]:
        """The versions whose last attempt failed, and those that weren't fetched."""
        failed = {number for number, attempt in self.attempts.items() if attempt.rejection}
        return failed | self.unfetched

    def is_current(self, version: int) -> bool:
        """Whether the last attempt was made with the files that are on disk now."""
        attempt = self.attempts.get(version)
        return attempt is not None and attempt.files == self.on_disk.versions.get(version)


@dataclass(frozen=True, slots=True)
class Forget:
    """Forget the last attempt: the files are others now, or gone."""

    version: int


@dataclass(frozen=True, slots=True)
class Retry:
    """Try a version again that failed for a transient reason."""

    version: int


@dataclass(frozen=True, slots=True)
class Load:
    """Load a version from these files; it replaces a loaded one with the same number."""

    version: int
    files: Signature


@dataclass(frozen=True, slots=True)
class Route:
    """Route requests in another way."""

    routing: Routing


@dataclass(frozen=True, slots=True)
class Retire:
    """Unload a version after its last request."""

    version: int


Action = Forget | Retry | Load | Route | Retire


def plan(desired: Desired, observed: Observed) -> list[Action]:
    """Return what to do next about one model; nothing if all is as desired.

    A load comes last and alone: its outcome decides about the rest.
    """
    renewed = _renew_attempts(observed)
    observed = replace(observed, attempts=_after(renewed, observed.attempts))
    versions = desired_versions(desired, observed)
    for version in versions:
        if _must_load(version, versions, desired, observed):
            return [*renewed, Load(version, observed.on_disk.versions[version])]
    routing = _route(desired, observed, versions)
    return [
        *renewed,
        *([Route(routing)] if routing != observed.routing else []),
        *(Retire(version) for version in sorted(observed.loaded - set(versions))),
    ]


def desired_versions(desired: Desired, observed: Observed) -> list[int]:
    """Return the versions that should serve, the latest first."""
    overrides, on_disk = desired.overrides, observed.on_disk
    usable = _usable(desired, observed)
    if overrides.excludes_model:
        return sorted(usable & overrides.reserved.keys(), reverse=True)
    asked_for = overrides.pinned | overrides.reserved.keys()
    if not desired.selected:
        return sorted(usable & asked_for, reverse=True)
    aliases = _aliases(desired, observed)
    split_targets = _traffic(observed).versions(aliases)
    named = {*aliases.values(), *split_targets, *asked_for}
    return desired.selection.choose(on_disk.versions, named, usable)


def _renew_attempts(observed: Observed) -> list[Action]:
    """The attempts that no longer say anything about the files on disk."""
    actions: list[Action] = []
    for version, attempt in sorted(observed.attempts.items()):
        gone = version not in observed.on_disk.versions
        if gone or (attempt.rejection and not observed.is_current(version)):
            actions.append(Forget(version))
        elif attempt.retry_at is not None and observed.now >= attempt.retry_at:
            actions.append(Retry(version))
    return actions


def _after(actions: list[Action], attempts: Mapping[int, Attempt]) -> dict[int, Attempt]:
    renewed = {action.version for action in actions if isinstance(action, Forget | Retry)}
    return {version: attempt for version, attempt in attempts.items() if version not in renewed}


def _usable(desired: Desired, observed: Observed) -> set[int]:
    # A loaded version goes on serving although bad files have replaced its own.
    rejected = observed.rejected - observed.loaded
    excluded = desired.overrides.excluded - desired.overrides.reserved.keys()
    return set(observed.on_disk.versions) - rejected - excluded


def _aliases(desired: Desired, observed: Observed) -> Mapping[str, int]:
    """The aliases on disk; one whose version can't serve keeps the version that it had."""
    on_disk, before = observed.on_disk.aliases, observed.routing.aliases
    if on_disk is None:  # the file can't be read now
        return before
    usable = _usable(desired, observed)
    return {
        alias: before[alias] if version not in usable and before.get(alias) in usable else version
        for alias, version in on_disk.items()
    }


def _traffic(observed: Observed) -> Traffic:
    """The traffic splits on disk, or those of before while the file can't be read."""
    on_disk = observed.on_disk.traffic
    return observed.routing.traffic if on_disk is None else on_disk


def _must_load(version: int, versions: list[int], desired: Desired, observed: Observed) -> bool:
    if version in observed.loaded:
        outdated = version in observed.outdated and version not in observed.rejected
        return outdated or not observed.is_current(version)
    if not desired.selection.on_demand:
        return True
    # A name whose version is loaded gets another one only when that is loaded too:
    # otherwise a request would wait for a load although a version could answer it.
    before = observed.routing.targets(observed.routing.unloaded)
    after = _route(desired, observed, versions).targets(versions)
    return any(
        number == version and before.get(name) in observed.loaded for name, number in after.items()
    )


def _route(desired: Desired, observed: Observed, versions: list[int]) -> Routing:
    """Return the routing for the time when every version is loaded that must be."""
    usable = _usable(desired, observed)
    candidates = desired.selection.choose(
        observed.on_disk.versions, desired.overrides.pinned, usable
    )
    routing = Routing(
        _aliases(desired, observed),
        _traffic(observed),
        frozenset(candidates),
        frozenset(versions if desired.selection.on_demand else ()),
    )
    return replace(routing, problems=_problems(observed.on_disk, routing, versions))


def _problems(on_disk: ModelOnDisk, routing: Routing, serving: Collection[int]) -> tuple[str, ...]:
    problems, aliases = list(on_disk.problems), routing.aliases
    for alias, version in (on_disk.aliases or {}).items():
        if version not in serving:
            kept = f"; v{aliases[alias]} serves instead" if aliases[alias] in serving else ""
            problems.append(f"alias {alias} names v{version}, which is not available{kept}")
    for kind, split in routing.traffic:
        to = split.version(aliases)
        if to is None:
            problems.append(f"{kind} goes to {split.to}, an alias that does not exist")
        elif to not in serving:
            problems.append(f"{kind} goes to v{to}, which is not available")
        if split.of is not None and split.of not in aliases:
            problems.append(f"{kind} is of {split.of}, an alias that does not exist")
    return tuple(problems)
