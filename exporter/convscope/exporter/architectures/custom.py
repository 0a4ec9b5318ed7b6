"""A network in a user's file: `path/to/file.py:factory`."""

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from convscope.bundle.suggestions import or_others
from convscope.exporter.architectures.registry import Architecture
from convscope.exporter.errors import NetworkError
from convscope.exporter.preprocessing import InputRule

if TYPE_CHECKING:
    from torch import nn

__all__ = ["custom_architecture", "is_custom", "requires_classes"]


def is_custom(name: str) -> bool:
    """Return whether a name denotes a file instead of a registry row."""
    return name.partition(":")[0].endswith(".py")


def custom_architecture(name: str, expects: InputRule) -> Architecture:
    """Return a row for `path/to/file.py:factory`.

    The factory is a function that returns a network, or a network class. It is
    called with `num_classes` and `in_channels` if it has parameters of these
    names.

    Args:
        name: The file and the factory.
        expects: The input that the user declared.

    Raises:
        NetworkError: The file can't be run, or has no such factory.
    """
    factory = _load(name)
    path, _, factory_name = name.partition(":")
    return Architecture(
        name=re.sub(r"[^a-z0-9_-]+", "_", factory_name.lower()).strip("_"),
        summary=f"{Path(path).name}:{factory_name}",
        make=lambda classes, channels: _call(factory, name, classes, channels),
        expects=lambda channels: expects,
        channels=(expects.channels,),
        is_custom=True,
        has_default_classes=_has_default_classes(factory),
    )


def requires_classes(name: str) -> bool:
    """Return whether a factory can't be called without the number of classes.

    Raises:
        NetworkError: The file can't be run, or has no such factory.
    """
    return _requires_classes(_load(name))


def _load(name: str) -> Callable[..., Any]:
    path, _, factory_name = name.partition(":")
    if not factory_name:
        raise NetworkError(f"{name!r} names no factory; write it as {path}:FACTORY")
    return _find(_run(Path(path)), factory_name, path)


def _requires_classes(factory: Callable[..., Any]) -> bool:
    parameter = inspect.signature(factory).parameters.get("num_classes")
    return parameter is not None and parameter.default is parameter.empty


def _has_default_classes(factory: Callable[..., Any]) -> bool:
    parameter = inspect.signature(factory).parameters.get("num_classes")
    return parameter is not None and isinstance(parameter.default, int)


def _is_required(parameter: inspect.Parameter, offered: Mapping[str, int]) -> bool:
    is_named = parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return is_named and parameter.default is parameter.empty and parameter.name not in offered


def _run(path: Path) -> ModuleType:
    if not path.is_file():
        raise NetworkError(f"there is no file {str(path)!r}")
    module_name = f"convscope_custom_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise NetworkError(f"{path} can't be run as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickling look it up
    sys.path.insert(0, str(path.resolve().parent))  # the file may import its neighbors
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        raise NetworkError(f"{path} can't be run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    return module


def _find(module: ModuleType, name: str, path: str) -> Callable[..., Any]:
    factory = getattr(module, name, None)
    if callable(factory):
        return factory  # type: ignore[no-any-return]
    own = [
        key
        for key, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
    if not own:
        raise NetworkError(f"{path} has no factory {name!r}: it defines no function and no class")
    raise NetworkError(f"{path} has no factory {name!r}" + or_others(name, own))


def _call(factory: Callable[..., Any], name: str, classes: int, channels: int) -> "nn.Module":
    from convscope.exporter.architectures.returned import checked_network

    if classes == 0 and _requires_classes(factory):
        raise NetworkError(f"{name} requires num_classes; name the classes with --labels FILE")
    offered = {"num_classes": classes, "in_channels": channels}
    if classes == 0:
        del offered["num_classes"]
    parameters = inspect.signature(factory).parameters
    if unknown := [key for key, one in parameters.items() if _is_required(one, offered)]:
        raise NetworkError(
            f"{name} requires {' and '.join(unknown)}, but it is called with num_classes and "
            "in_channels only; give the parameter a default, or write a function without it"
        )
    try:
        network = factory(**{key: offered[key] for key in offered.keys() & parameters.keys()})
    except Exception as error:  # the user's code may raise anything
        raise NetworkError(f"{name} failed: {type(error).__name__}: {error}") from error
    return checked_network(network, name)
