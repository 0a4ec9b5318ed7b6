"""What to do so that a model serves what is desired: a decision without effects.

`plan` compares what is desired of a model with what is observed of it. The
manager executes the actions, and plans again after each load, because a
rejected version gives its place to the next older one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from convscope.bundle.traffic import Traffic
from convscope.server.repository.desired import Desired
from convscope.server.repository.scan import ModelOnDisk, Signature
from convscope.server.repository.state import Attempt, Observed, Routing

__all__ = [
    "Action",
    "Forget",
    "Load",
    "Retire",
    "Retry",
    "Route",
    "desired_versions",
    "plan",
]


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
        elif attempt.is_due(observed.now):
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
        elif split.of is None and to is not None and to == routing.default(serving):
            problems.append(
                f"{kind} goes to v{to}, which requests without an alias get anyway; split those of "
                "an alias (--of ALIAS), or serve another version by default (--versions)"
            )
        elif split.of is not None and to is not None and to == aliases[split.of]:
            problems.append(f"{kind} goes to v{to}, which is the version of {split.of} anyway")
    return tuple(problems)
