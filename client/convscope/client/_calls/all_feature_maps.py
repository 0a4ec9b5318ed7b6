"""`feature_maps="all"` as the names of a model's feature maps."""

from collections.abc import Iterable
from typing import Any

from convscope.client.errors import InvalidInputError
from convscope.client.types import FeatureMapSelection, ModelInfo

__all__ = ["as_sequence", "selects_all", "with_all_names"]

_ALL = "all"


def as_sequence(feature_maps: Any) -> Any:
    """Return feature maps that can be read twice: an iterator as a tuple, the rest unchanged."""
    return tuple(feature_maps) if hasattr(feature_maps, "__next__") else feature_maps


def selects_all(feature_maps: Any) -> bool:
    """Report whether "all" is selected, alone or among others."""
    if isinstance(feature_maps, str):
        return feature_maps == _ALL
    return isinstance(feature_maps, list | tuple | set | frozenset) and _ALL in feature_maps


def with_all_names(
    feature_maps: Iterable[str | FeatureMapSelection], info: ModelInfo
) -> tuple[str | FeatureMapSelection, ...]:
    """Return feature maps with the names of all others in the place of "all".

    Raises:
        InvalidInputError: The model has none.
    """
    if not info.feature_maps:
        raise InvalidInputError(f"{info.model} v{info.version} has no feature maps")
    given = () if isinstance(feature_maps, str) else feature_maps
    selections = [one for one in given if isinstance(one, FeatureMapSelection)]
    selected = {one.name for one in selections}
    names = [spec.name for spec in info.feature_maps if spec.name not in selected]
    return (*selections, *names)
