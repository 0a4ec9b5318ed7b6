"""What is to answer: by the selection, by aliases and trials, and by what an operator asked for."""

from collections.abc import Mapping

from convscope.bundle.traffic import Traffic
from convscope.server.repository.catalog import CatalogedModel
from convscope.server.repository.disk import ModelOnDisk
from convscope.server.repository.selection import Selection

__all__ = ["DesiredVersions"]


class DesiredVersions:
    """Chooses the versions of one model after the other.

    Args:
        selection: What is wanted unless an operator says otherwise.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._pinned: dict[str, set[int]] = {}
        self._held: dict[str, set[int]] = {}
        self._put_away: dict[str, set[int]] = {}
        self._absent: set[str] = set()  # models of which nothing is wanted

    def bring(self, model: str, version: int | None) -> None:
        """Want what an operator asks for: a version, or again what was put away."""
        self._absent.discard(model)
        if version is None:
            self._put_away.pop(model, None)
        else:
            self._put_away.get(model, set()).discard(version)
            self._pinned.setdefault(model, set()).add(version)

    def hold(self, model: str, version: int) -> None:
        """Want a version that an alias or a trial is about to name, until it is released."""
        self._held.setdefault(model, set()).add(version)

    def named(self, model: str, version: int) -> None:
        """Want again what was put away, now that an alias or a trial names it."""
        self._absent.discard(model)
        self._put_away.get(model, set()).discard(version)

    def release(self, model: str, version: int) -> None:
        """No longer want a version unless something names it by now."""
        self._held.get(model, set()).discard(version)

    def unpin(self, model: str, version: int) -> None:
        """No longer want a version for an operator's sake alone."""
        self._pinned.get(model, set()).discard(version)

    def put_away(self, model: str, version: int | None) -> None:
        """Want a version, or all of a model, no longer."""
        if version is None:
            self._absent.add(model)
            self._pinned.pop(model, None)
        else:
            self._put_away.setdefault(model, set()).add(version)
            self.unpin(model, version)

    def choose(self, model: str, known: CatalogedModel, found: ModelOnDisk) -> list[int]:
        """Choose the versions that are to answer, the latest first."""
        usable, held = self._usable(model, known, found), self._held.get(model, set())
        if model in self._absent:
            return sorted(held & usable, reverse=True)
        pinned = self._pinned.get(model, set()) | held
        if not self._selection.wants_model(model):
            return sorted(pinned & usable, reverse=True)
        aliases = self.aliases(model, known, found)
        tried = self.traffic(known, found).versions(aliases)
        return self._selection.choose(found.versions, {*aliases.values(), *tried, *pinned}, usable)

    def chosen(self, model: str, known: CatalogedModel, found: ModelOnDisk) -> frozenset[int]:
        """Those that are wanted for their own sake: who is only on trial isn't the default."""
        pinned = self._pinned.get(model, set())
        usable = self._usable(model, known, found)
        return frozenset(self._selection.choose(found.versions, pinned, usable))

    def aliases(self, model: str, known: CatalogedModel, found: ModelOnDisk) -> Mapping[str, int]:
        """The version of each alias: that of the disk, or the one before while it can't answer."""
        if found.aliases is None:
            return known.aliases
        usable = self._usable(model, known, found)
        held = dict(found.aliases)
        for alias, number in found.aliases.items():
            before = known.aliases.get(alias, number)
            if number not in usable and before in usable:
                held[alias] = before
        return held

    def problems(self, known: CatalogedModel, found: ModelOnDisk) -> tuple[str, ...]:
        """Say what aliases and trials name and can't have, once what is wanted was loaded."""
        there = known.ready.keys() | known.unloaded
        problems = list(found.problems)
        for alias, number in (found.aliases or {}).items():
            if number not in there:
                instead = (
                    f"; v{known.aliases[alias]} answers" if known.aliases[alias] in there else ""
                )
                problems.append(f"alias {alias} names v{number}, which can't answer{instead}")
        for kind, trial in known.traffic:
            to = trial.version(known.aliases)
            if to is None:
                problems.append(f"{kind} goes to {trial.to}, an alias that there isn't")
            elif to not in there:
                problems.append(f"{kind} goes to v{to}, which can't answer")
            if trial.of is not None and trial.of not in known.aliases:
                problems.append(f"{kind} is of {trial.of}, an alias that there isn't")
        return tuple(problems)

    def traffic(self, known: CatalogedModel, found: ModelOnDisk) -> Traffic:
        """The trials: those of the disk, or the ones before while they can't be read."""
        return known.traffic if found.traffic is None else found.traffic

    def _usable(self, model: str, known: CatalogedModel, found: ModelOnDisk) -> set[int]:
        # What answers goes on to, although its files were replaced by worse ones.
        refused = known.refused.keys() - known.ready.keys()
        put_away = self._put_away.get(model, set()) - self._held.get(model, set())
        return set(found.versions) - refused - put_away
