"""Mappings of results whose KeyError says which names they have."""

from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar

from convscope.client._results.feature_map import FeatureMap
from convscope.client.errors import UnknownNameError

__all__ = ["Aliases", "FeatureMaps"]

T = TypeVar("T")


class FeatureMaps(dict[str, FeatureMap]):
    """The feature maps of a result, by name."""

    __slots__ = ()

    def __missing__(self, name: Any) -> NoReturn:
        request = "conv1" if not isinstance(name, str) else name
        raise UnknownNameError(
            f"the result has no feature map {name!r}; {_available(self, name)}; request others "
            f"with classify(..., feature_maps=[{request!r}]); model(...).feature_maps lists all"
        )


class Aliases(dict[str, int]):
    """The version of each alias."""

    __slots__ = ()

    def __missing__(self, name: Any) -> NoReturn:
        raise UnknownNameError(f"the model has no alias {name!r}; {_available(self, name)}")


def _available(names: dict[str, T], wanted: Any) -> str:
    """Return the names that a mapping has, those close to the wanted one first."""
    if not names:
        return "it has none"
    close = get_close_matches(str(wanted), names, n=3)
    return f"it has: {', '.join([*close, *(name for name in names if name not in close)])}"
