"""What serves now, and which version a request means by a model, a version or an alias."""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic

from convscope.bundle.suggestions import it_has
from convscope.bundle.traffic import TrafficSplit
from convscope.server.errors import NotFoundError, UnavailableError, UnknownModelError
from convscope.server.repository.loader import V
from convscope.server.repository.rejection import Rejection
from convscope.server.repository.state import CatalogedModel

__all__ = ["Catalog", "NotLoadedError", "Target", "listed"]


class NotLoadedError(Exception):
    """The request means a version that is loaded on demand and is not loaded.

    Args:
        model: Its model.
        version: Its number.
        is_named: Whether the request names it, by number or alias: then no
            other version may serve the request.
    """

    def __init__(self, model: str, version: int, *, is_named: bool) -> None:
        super().__init__(f"{model} v{version}")
        self.model = model
        self.version = version
        self.is_named = is_named


@dataclass(slots=True)  # one is made for each request, and a frozen one takes twice as long
class Target:
    """What a request names.

    Args:
        model: The model's name.
        number: A version of it.
        alias: An alias instead of a number.
        key: A key of the caller's. Traffic splits treat requests with the same
            key alike; without a key, chance decides.
        chance: A random number that decides then. It stays the same however
            often the target is resolved.
    """

    model: str
    number: int | None = None
    alias: str | None = None
    key: str = ""
    chance: float = field(default_factory=random.random, compare=False)

    @property
    def names_version(self) -> bool:
        """Whether the target means one version, and no other may serve the request."""
        return self.number is not None or self.alias is not None


class Catalog(Generic[V]):
    """The models of a repository; it belongs to one event loop.

    Every change is one assignment between two requests, so that a request sees
    the state before it or the state after it.
    """

    def __init__(self) -> None:
        self._models: dict[str, CatalogedModel[V]] = {}

    def __iter__(self) -> Iterator[V]:
        for name in self.models:
            ready = self._models[name].ready
            yield from (ready[version] for version in sorted(ready))

    @property
    def models(self) -> list[str]:
        """The name of every model that has a version, ready or not."""
        return sorted(name for name, known in self._models.items() if _has_versions(known))

    @property
    def names(self) -> list[str]:
        """The name of every known model, also of those without a version that should serve."""
        return list(self._models)

    @property
    def rejections(self) -> list[Rejection]:
        """Why some versions don't serve."""
        return [r for name in self.models for _, r in sorted(self._models[name].rejected.items())]

    @property
    def splits(self) -> list[tuple[str, int, str, float]]:
        """The traffic splits whose version is known: model, version, kind, share."""
        routings = ((name, self._models[name].routing) for name in self.models)
        return [
            (name, number, kind, split.share)
            for name, routing in routings
            for kind, split in routing.traffic
            if (number := split.version(routing.aliases)) is not None
        ]

    def get(self, model: str) -> CatalogedModel[V]:
        """Return the state of a model; an empty one, which isn't kept, if it is unknown."""
        return self._models.get(model) or CatalogedModel()

    def add(self, model: str) -> CatalogedModel[V]:
        """Return the state of a model, which is kept from now on."""
        known = self._models.get(model)
        if known is None:
            known = self._models[model] = CatalogedModel()
        return known

    def remove(self, model: str) -> None:
        """Drop the state of a model that is gone."""
        self._models.pop(model, None)

    def aliases(self, model: str) -> Mapping[str, int]:
        """Return the version of each alias of a model."""
        return self.get(model).routing.aliases

    def is_ready(self, model: str) -> bool:
        """Whether some version of the model serves."""
        return bool(self.get(model).serving)

    def is_default(self, version: V) -> bool:
        """Whether requests that name neither version nor alias get this version."""
        model, number = version.key
        return number == self.get(model).default

    def check_known(self, model: str) -> CatalogedModel[V]:
        """Return the state of a model that has a version.

        Raises:
            NotFoundError: There is no such model.
        """
        known = self._models.get(model)
        if known is None or not _has_versions(known):
            raise UnknownModelError(model, self.models)
        return known

    def resolve(self, target: Target, *, canary: bool = False) -> V:
        """Return the version that a request gets.

        Args:
            target: What the request names.
            canary: Whether the model's canary gets its share.

        Raises:
            NotFoundError: There is no such model, version or alias.
            UnavailableError: It exists, and is not ready.
            NotLoadedError: It is loaded on demand, and is not loaded.
        """
        known = self.check_known(target.model)
        means = _number(target, known)
        number = _split(target, "canary", known.routing.traffic.canary, known) if canary else None
        if number is None:
            number = means
        if number in known.ready:
            return known.ready[number]
        if number in known.routing.unloaded:
            is_named = target.names_version and number == means
            raise NotLoadedError(target.model, number, is_named=is_named)
        raise _unavailable(target.model, number, known)

    def shadow(self, target: Target, served: V) -> int | None:
        """Return the number of the version that gets a copy of a request.

        Args:
            target: What the request names.
            served: The version that served it.

        Returns:
            None if the request is not copied, or the shadow served it itself.
        """
        known = self.get(target.model)
        number = _split(target, "shadow", known.routing.traffic.shadow, known)
        return None if number == served.key[1] else number


def _has_versions(known: CatalogedModel[V]) -> bool:
    return bool(known.serving or known.rejected)


def _number(target: Target, known: CatalogedModel[V]) -> int:
    """The version that a request means."""
    default = known.default
    if default is None:
        raise UnavailableError(
            f"no version of {target.model} is ready; the server's log says what was rejected"
        )
    if target.alias is not None:
        aliases = known.routing.aliases
        if target.alias not in aliases:
            raise NotFoundError(
                f"{target.model} has no alias {_short(target.alias)}; {it_has(sorted(aliases))}"
            )
        return aliases[target.alias]
    return default if target.number is None else target.number


def _split(
    target: Target, kind: str, split: TrafficSplit | None, known: CatalogedModel[V]
) -> int | None:
    """The version that a traffic split sends a request to, if that serves."""
    if split is None or target.number is not None:
        return None
    key = target.key or str(target.chance)
    if not split.takes(target.alias, f"{kind} of {target.model}", key):
        return None
    number = split.version(known.routing.aliases)
    return number if number in known.serving else None


def _unavailable(
    model: str, number: int, known: CatalogedModel[V]
) -> UnavailableError | NotFoundError:
    if number in known.rejected:
        return UnavailableError(
            f"{model} v{number} was rejected at load; the server's log says why"
        )
    return NotFoundError(
        f"{model} has no version {number} ready; it has: {listed(sorted(known.serving))}"
    )


def _short(name: str) -> str:
    """Quote a name of the caller's at a bounded length."""
    return repr(name if len(name) <= 80 else name[:80] + "…")


def listed(names: Iterable[object]) -> str:
    """List names at a bounded length."""
    all_names = [str(name) for name in names]
    shown = ", ".join(all_names[:20])
    return shown if len(all_names) <= 20 else f"{shown} and {len(all_names) - 20} more"
