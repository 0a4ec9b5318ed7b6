"""What is to answer: by the selection, by aliases, and by what an operator asked for."""

from collections.abc import Mapping

from convscope.server.repository.catalog import CatalogedModel
from convscope.server.repository.disk import ModelOnDisk
from convscope.server.repository.selection import Selection

__all__ = ["Wanted"]


class Wanted:
    """Chooses the versions of one model after the other.

    Args:
        selection: What is wanted unless an operator says otherwise.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._pinned: dict[str, set[int]] = {}
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
        if model in self._absent:
            return []
        usable, pinned = self._usable(model, known, found), self._pinned.get(model, set())
        if not self._selection.wants_model(model):
            return sorted(pinned & usable, reverse=True)
        aliased = self.aliases(model, known, found).values()
        return self._selection.choose(found.versions, {*aliased, *pinned}, usable)

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

    def _usable(self, model: str, known: CatalogedModel, found: ModelOnDisk) -> set[int]:
        # What answers goes on to, although its files were replaced by worse ones.
        refused = known.refused.keys() - known.ready.keys()
        return set(found.versions) - refused - self._put_away.get(model, set())
