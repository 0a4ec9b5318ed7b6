"""Which versions should serve: the selection from the settings, and an operator's overrides."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from convscope.server.repository.selection import Selection

__all__ = ["Desired", "DesiredVersions", "Overrides"]


@dataclass(slots=True)
class Overrides:
    """What an operator changed for one model while the server runs.

    Args:
        pinned: Versions that serve whatever the selection says.
        excluded: Versions that don't serve.
        excludes_model: Whether no version of the model serves.
        reserved: Versions that an alias or a traffic split is about to name.
            They are loaded even if they are excluded, and never become the default.
    """

    pinned: set[int] = field(default_factory=set)
    excluded: set[int] = field(default_factory=set)
    excludes_model: bool = False
    reserved: Counter[int] = field(default_factory=Counter)

    def load(self, version: int | None) -> None:
        """Do what loading a version means, or loading what the selection names of the model."""
        if version is None:
            self.include(None)
        else:
            self.pin(version)

    def include(self, version: int | None) -> None:
        """No longer exclude a version; None stands for the model and all of its versions."""
        self.excludes_model = False
        if version is None:
            self.excluded.clear()
        else:
            self.excluded.discard(version)

    def exclude(self, version: int | None) -> None:
        """Exclude a version, or the model, and unpin it."""
        if version is None:
            self.excludes_model = True
            self.pinned.clear()
        else:
            self.excluded.add(version)
            self.unpin(version)

    def pin(self, version: int) -> None:
        """Serve a version whatever the selection says."""
        self.include(version)
        self.pinned.add(version)

    def unpin(self, version: int) -> None:
        """Serve a version only if the selection, an alias or a traffic split asks for it."""
        self.pinned.discard(version)

    def copy(self) -> "Overrides":
        """Return a copy that later changes don't reach."""
        return Overrides(
            set(self.pinned), set(self.excluded), self.excludes_model, self.reserved.copy()
        )

    def restore(self, before: "Overrides") -> None:
        """Undo what was changed since a copy was made, except what is reserved."""
        self.pinned, self.excluded = set(before.pinned), set(before.excluded)
        self.excludes_model = before.excludes_model

    def to_json(self) -> dict[str, Any]:
        """Return the overrides as plain values, without what is reserved."""
        return {
            "pinned": sorted(self.pinned),
            "excluded": sorted(self.excluded),
            "excludes_model": self.excludes_model,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_json` was called for."""
        return cls(set(values["pinned"]), set(values["excluded"]), values["excludes_model"])

    @contextmanager
    def reserve(self, version: int) -> Iterator[None]:
        """Keep a version loaded within the context; exclusions return if it fails.

        Two operators can reserve the same version at once.
        """
        self.reserved[version] += 1
        try:
            yield
            self.include(version)
        finally:
            self.reserved[version] -= 1
            if not self.reserved[version]:
                del self.reserved[version]


@dataclass(frozen=True, slots=True)
class Desired:
    """What is desired of one model.

    Args:
        selection: Which versions serve by default.
        selected: Whether the selection includes the model.
        overrides: What an operator changed.
    """

    selection: Selection = field(default_factory=Selection)
    selected: bool = True
    overrides: Overrides = field(default_factory=Overrides)


class DesiredVersions:
    """The selection, and the overrides of each model.

    Args:
        selection: Which versions serve unless an operator overrides it.
        overrides: The overrides of each model, as `Overrides.to_json` returned them.
    """

    def __init__(
        self, selection: Selection, overrides: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.selection = selection
        self._overrides: dict[str, Overrides] = {}
        self.replace(overrides)

    def of(self, model: str) -> Desired:
        """Return what is desired of a model now; later overrides don't change it."""
        known = self._overrides.get(model)
        overrides = Overrides() if known is None else known.copy()
        return Desired(self.selection, self.selection.includes_model(model), overrides)

    def overrides(self, model: str) -> Overrides:
        """Return the overrides of a model, to be changed."""
        return self._overrides.setdefault(model, Overrides())

    def replace(self, overrides: Mapping[str, Any]) -> None:
        """Replace the overrides of all models.

        Args:
            overrides: Those of each model, as `Overrides.to_json` returned them.
        """
        self._overrides = {name: Overrides.from_json(one) for name, one in overrides.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the overrides of each model as plain values."""
        return {name: overrides.to_json() for name, overrides in self._overrides.items()}
