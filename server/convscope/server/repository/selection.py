"""Which versions of which models the settings select."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

__all__ = ["Selection", "parse_versions"]


@dataclass(frozen=True, slots=True)
class Selection:
    """The models and versions to serve, and when to load them.

    Args:
        models: The models' names; None for every model of the repository.
        latest: How many of each model's latest versions.
        versions: These versions instead of the latest.
        on_demand: Whether a version is loaded when a request first needs it.
    """

    models: frozenset[str] | None = None
    latest: int = 1
    versions: frozenset[int] | None = None
    on_demand: bool = False

    def includes_model(self, model: str) -> bool:
        """Whether a model is selected."""
        return self.models is None or model in self.models

    def missing(self, models: Collection[str]) -> list[str]:
        """The models that are selected by name and don't exist."""
        return sorted((self.models or frozenset()) - set(models))

    def choose(
        self, versions: Iterable[int], named: Collection[int], usable: Collection[int]
    ) -> list[int]:
        """Choose the versions of one model, the latest first.

        Args:
            versions: All versions of the model.
            named: Versions that are chosen in any case, for instance because an
                alias names them.
            usable: The versions that can serve. One that can't, for instance
                because it was rejected, gives its place to the next older one.
        """
        chosen, counted = [], 0
        for version in sorted(versions, reverse=True):
            if version not in usable:
                continue
            by_rule = version in self.versions if self.versions else counted < self.latest
            counted += by_rule
            if by_rule or version in named:
                chosen.append(version)
        return chosen


def parse_versions(text: str) -> tuple[int, frozenset[int] | None]:
    """Parse "2" as the latest two versions, and "=3,5" as the versions 3 and 5.

    Raises:
        ValueError: The text is neither.
    """
    if re.fullmatch(r"[1-9]\d{0,8}", text):
        return int(text), None
    if re.fullmatch(r"=[1-9]\d{0,17}(,[1-9]\d{0,17})*", text):
        return 1, frozenset(map(int, text[1:].split(",")))
    raise ValueError(
        f"{text!r} names no versions; give a number for the latest ones, such as 2, "
        "or a list, such as =3,5"
    )
