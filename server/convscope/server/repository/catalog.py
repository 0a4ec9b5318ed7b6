"""What answers now, and what a request means by a model, a version or an alias."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from convscope.server.errors import NotFoundError, UnavailableError
from convscope.server.repository.disk import Signature
from convscope.server.repository.versions import LoadedVersion, Refusal

__all__ = ["Catalog", "CatalogedModel", "DormantError", "listed"]


class DormantError(Exception):
    """The request means a version that is loaded when it is asked for, and isn't yet."""

    def __init__(self, model: str, version: int) -> None:
        super().__init__(f"{model} v{version}")
        self.model = model
        self.version = version


@dataclass
class CatalogedModel:
    """What is known of one model.

    Args:
        ready: The versions that answer.
        aliases: The version of each alias.
        refused: Why other versions don't answer.
        dormant: The versions that are loaded when they are asked for.
        signatures: What lay on disk when a version was loaded or refused.
    """

    ready: dict[int, LoadedVersion] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    refused: dict[int, Refusal] = field(default_factory=dict)
    dormant: frozenset[int] = frozenset()
    signatures: dict[int, Signature] = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """Whether some version answers, if need be after a load."""
        return bool(self.ready or self.dormant)

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
    def refusals(self) -> list[Refusal]:
        """Why the versions that don't answer don't."""
        return [r for name in self.models for _, r in sorted(self._models[name].refused.items())]

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
        known = self._models[model]
        return number == max({*known.ready, *known.dormant})

    def resolve(
        self, model: str, version: int | None = None, alias: str | None = None
    ) -> LoadedVersion:
        """Find the version that a request means.

        Raises:
            NotFoundError: There is no such model, version or alias.
            UnavailableError: It is known, and not ready.
            DormantError: It isn't loaded yet.
        """
        known = self.check_known(model)
        if not known.answers:
            raise UnavailableError(
                f"no version of {model} is ready; the server's log says what was refused"
            )
        number = _number(model, known, version, alias)
        if number in known.ready:
            return known.ready[number]
        if number in known.dormant:
            raise DormantError(model, number)
        if number in known.refused:
            raise UnavailableError(
                f"{model} v{number} was refused at load; the server's log says why"
            )
        answering = listed(sorted({*known.ready, *known.dormant}))
        raise NotFoundError(f"{model} has no version {number} ready; it has: {answering}")


def _number(model: str, known: CatalogedModel, version: int | None, alias: str | None) -> int:
    if alias is not None:
        if alias not in known.aliases:
            names = listed(sorted(known.aliases)) or "none"
            raise NotFoundError(f"{model} has no alias {_short(alias)}; it has: {names}")
        return known.aliases[alias]
    if version is not None:
        return version
    return max({*known.ready, *known.dormant}) if known.dormant else max(known.ready)


def _short(name: str) -> str:
    """Quote a name of the caller's at a bounded length."""
    return repr(name if len(name) <= 80 else name[:80] + "…")


def listed(names: Iterable[object]) -> str:
    """List names at a bounded length."""
    all_names = [str(name) for name in names]
    shown = ", ".join(all_names[:20])
    return shown if len(all_names) <= 20 else f"{shown} and {len(all_names) - 20} more"
