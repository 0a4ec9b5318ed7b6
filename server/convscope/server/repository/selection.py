"""Which versions of which models are wanted."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

__all__ = ["Selection", "parse_versions"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What an operator wants to be served.

    Args:
        models: Their names; None for every model of the repository.
        latest: How many of each model's latest versions.
        versions: These versions in place of the latest.
        on_demand: Whether a version is loaded when it is first asked for.
    """

    models: frozenset[str] | None = None
    latest: int = 1
    versions: frozenset[int] | None = None
    on_demand: bool = False

    def wants_model(self, model: str) -> bool:
        """Whether a model is to be served."""
        return self.models is None or model in self.models

    def missing(self, models: Collection[str]) -> list[str]:
        """The models that are wanted by name and aren't there."""
        return sorted((self.models or frozenset()) - set(models))

    def choose(
        self, versions: Iterable[int], aliased: Collection[int], usable: Collection[int]
    ) -> list[int]:
        """Choose the versions of one model, the latest first.

        Args:
            versions: Those that there are.
            aliased: Those that an alias names: they are wanted too.
            usable: Those that aren't known to be refused; a refused one gives
                its place to the next older.
        """
        wanted, counted = [], 0
        for version in sorted(versions, reverse=True):
            if version not in usable:
                continue
            by_rule = version in self.versions if self.versions else counted < self.latest
            counted += by_rule
            if by_rule or version in aliased:
                wanted.append(version)
        return wanted


def parse_versions(text: str) -> tuple[int, frozenset[int] | None]:
    """Read "2" as the latest two, and "=3,5" as the versions 3 and 5.

    Raises:
        ValueError: It is neither.
    """
    if re.fullmatch(r"[1-9]\d{0,8}", text):
        return int(text), None
    if re.fullmatch(r"=[1-9]\d{0,17}(,[1-9]\d{0,17})*", text):
        return 1, frozenset(map(int, text[1:].split(",")))
    raise ValueError(
        f"{text!r} names no versions; give a number for the latest ones, such as 2, "
        "or a list, such as =3,5"
    )
