"""What answers now, and what a request means by a model, a version or an alias."""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from convscope.bundle.traffic import Traffic, TrafficSplit
from convscope.server.errors import NotFoundError, UnavailableError
from convscope.server.repository.disk import Signature
from convscope.server.runtime.versions import LoadedVersion, Rejection

__all__ = ["Catalog", "CatalogedModel", "NotLoadedError", "Target", "listed"]


class NotLoadedError(Exception):
    """The request means a version that is loaded when it is asked for, and isn't yet.

    Args:
        model: Its model.
        version: Its number.
        by_name: Whether the request names it, by number or alias: then no
            other version may answer in its place.
        on_trial: Whether it is a canary, in whose place another one can answer.
    """

    def __init__(self, model: str, version: int, *, by_name: bool, on_trial: bool) -> None:
        super().__init__(f"{model} v{version}")
        self.model = model
        self.version = version
        self.by_name = by_name
        self.on_trial = on_trial


@dataclass(frozen=True, slots=True)
class Target:
    """What a request names.

    Args:
        model: The model's name.
        number: A version of it.
        alias: In place of a number, an alias.
        key: What the request is recognised by, so that trials treat it as they
            did before; without one, chance decides.
        chance: What decides then, the same however often it is asked.
    """

    model: str
    number: int | None = None
    alias: str | None = None
    key: str = ""
    chance: float = field(default_factory=random.random, compare=False)

    @property
    def names_version(self) -> bool:
        """Whether one version is meant, and no other may answer."""
        return self.number is not None or self.alias is not None


@dataclass
class CatalogedModel:
    """What is known of one model.

    Args:
        ready: The versions that answer.
        aliases: The version of each alias.
        traffic: The trials.
        problems: What aliases and trials name and can't have, in sentences.
        refused: Why other versions don't answer.
        dormant: The versions that are loaded when they are asked for.
        chosen: The versions that are there for their own sake, and not only
            because an alias or a trial names them.
        signatures: What lay on disk when a version was loaded or refused.
    """

    ready: dict[int, LoadedVersion] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    problems: tuple[str, ...] = ()
    refused: dict[int, Rejection] = field(default_factory=dict)
    unloaded: frozenset[int] = frozenset()
    chosen: frozenset[int] = frozenset()
    signatures: dict[int, Signature] = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """Whether some version answers, if need be after a load."""
        return bool(self.ready or self.unloaded)

    @property
    def default(self) -> int | None:
        """The version that a request without a version or alias means, if one answers."""
        there = self.ready.keys() | self.unloaded
        return max(self.chosen & there or there, default=None)

    @property
    def outdated(self) -> set[int]:
        """The versions that answer and can be had on a better provider by now, if not refused."""
        answering = self.ready.items()
        return {n for n, version in answering if version.model.is_outdated} - self.refused.keys()


class Catalog:
    """The models of a repository; it belongs to one event loop.

    Every change is one assignment between two requests: a request sees what
    was before it, or what is after it.
    """

    def __init__(self) -> None:
        self._models: dict[str, CatalogedModel] = {}

    def __iter__(self) -> Iterator[LoadedVersion]:
        for name in self.models:
            ready = self._models[name].ready
            yield from (ready[version] for version in sorted(ready))

    def __getitem__(self, model: str) -> CatalogedModel:
        """What is known of a model; of a new one, nothing."""
        return self._models.setdefault(model, CatalogedModel())

    @property
    def models(self) -> list[str]:
        """The name of every model that has a version, ready or not."""
        return sorted(
            name for name, model in self._models.items() if model.answers or model.refused
        )

    @property
    def names(self) -> list[str]:
        """The name of every model that was ever looked at."""
        return list(self._models)

    @property
    def rejections(self) -> list[Rejection]:
        """Why the versions that don't answer don't."""
        return [r for name in self.models for _, r in sorted(self._models[name].refused.items())]

    @property
    def trials(self) -> list[tuple[str, int, str, float]]:
        """Of each trial whose version is known: model, version, kind, share."""
        return [
            (name, number, kind, trial.share)
            for name in self.models
            for kind, trial in self._models[name].traffic
            if (number := trial.version(self._models[name].aliases)) is not None
        ]

    def aliases(self, model: str) -> Mapping[str, int]:
        """The version of each alias of a model."""
        return self._models[model].aliases if model in self._models else {}

    def is_ready(self, model: str) -> bool:
        """Whether some version of the model answers."""
        return model in self._models and self._models[model].answers

    def check_known(self, model: str) -> CatalogedModel:
        """Give what is known of a model.

        Raises:
            NotFoundError: There is no such model.
        """
        known = self._models.get(model)
        if known is None or not (known.answers or known.refused):
            raise NotFoundError(f"no model {_short(model)}; this server has: {listed(self.models)}")
        return known

    def is_default(self, version: LoadedVersion) -> bool:
        """Whether a request that names neither version nor alias means this one."""
        model, number = version.key
        return number == self._models[model].default

    def resolve(self, target: Target) -> LoadedVersion:
        """Find the version that a target names.

        Raises:
            NotFoundError: There is no such model, version or alias.
            UnavailableError: It is known, and not ready.
            NotLoadedError: It isn't loaded yet.
        """
        return self._ready(target, self._number(target))

    def route(self, target: Target) -> LoadedVersion:
        """Find the version that answers a request: the one that it names, or the canary.

        Raises:
            NotFoundError: There is no such model, version or alias.
            UnavailableError: It is known, and not ready.
            NotLoadedError: It isn't loaded yet.
        """
        number = self._number(target)
        canary = self._tried(target, "canary", self._models[target.model].traffic.canary)
        if canary is not None and canary != number:
            return self._ready(target, canary, on_trial=True)
        return self._ready(target, number)

    def shadow(self, target: Target, answered: LoadedVersion) -> int | None:
        """Find the version that is given a copy of a request.

        Args:
            target: What the request names.
            answered: Which version answers it.

        Returns:
            The number of another version; None if the request isn't copied.
        """
        number = self._tried(target, "shadow", self._models[target.model].traffic.shadow)
        return None if number == answered.key[1] else number

    def _tried(self, target: Target, kind: str, trial: TrafficSplit | None) -> int | None:
        """The version that a trial sends a request to, if it can answer."""
        if trial is None or target.number is not None:
            return None
        key = target.key or str(target.chance)
        if not trial.takes(target.alias, f"{kind} of {target.model}", key):
            return None
        known = self._models[target.model]
        number = trial.version(known.aliases)
        return number if number in known.ready or number in known.unloaded else None

    def _number(self, target: Target) -> int:
        known = self.check_known(target.model)
        default = known.default
        if default is None:
            raise UnavailableError(
                f"no version of {target.model} is ready; the server's log says what was refused"
            )
        if target.alias is not None:
            if target.alias not in known.aliases:
                names = listed(sorted(known.aliases)) or "none"
                raise NotFoundError(
                    f"{target.model} has no alias {_short(target.alias)}; it has: {names}"
                )
            return known.aliases[target.alias]
        return default if target.number is None else target.number

    def _ready(self, target: Target, number: int, *, on_trial: bool = False) -> LoadedVersion:
        model, known = target.model, self._models[target.model]
        if number in known.ready:
            return known.ready[number]
        if number in known.unloaded:
            by_name = target.names_version and not on_trial
            raise NotLoadedError(model, number, by_name=by_name, on_trial=on_trial)
        if number in known.refused:
            raise UnavailableError(
                f"{model} v{number} was refused at load; the server's log says why"
            )
        answering = listed(sorted({*known.ready, *known.unloaded}))
        raise NotFoundError(f"{model} has no version {number} ready; it has: {answering}")


def _short(name: str) -> str:
    """Quote a name of the caller's at a bounded length."""
    return repr(name if len(name) <= 80 else name[:80] + "…")


def listed(names: Iterable[object]) -> str:
    """List names at a bounded length."""
    all_names = [str(name) for name in names]
    shown = ", ".join(all_names[:20])
    return shown if len(all_names) <= 20 else f"{shown} and {len(all_names) - 20} more"
