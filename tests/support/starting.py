"""Finds the tests that start a server, so that they can run on each transport.

A test starts a server if its function, one of its fixtures, or what these refer to in the
tests contains the name of the server's module or command.
"""

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

__all__ = ["refers_to_server", "starts_server"]

TESTS = str(Path(__file__).parents[1])
COMMANDS = ("convscope.server", "convscope-server")
# Functions that name the server and start none, or one that ends before it serves.
EXCEPT_IN = ("refers_to_server", "run_to_end")
# The values that lead to no server, by id: not every value has a hash. They stay alive, and so
# their ids aren't used again.
_SERVERLESS: dict[int, Any] = {}


def starts_server(item: pytest.Item) -> bool:
    """Return whether a test starts a server that serves, directly or by a fixture."""
    return any(map(refers_to_server, _functions(item)))


def _functions(item: pytest.Item) -> Iterator[Callable[..., Any]]:
    if isinstance(item, pytest.Function):
        yield item.function
        for definitions in item._fixtureinfo.name2fixturedefs.values():
            yield definitions[-1].func


@cache
def refers_to_server(function: Callable[..., Any]) -> bool:
    """Return whether a function, or a part of the tests that it refers to, names the server."""
    visited: dict[int, Any] = {}
    waiting: list[Any] = [function]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and value in COMMANDS:
            return True
        if id(value) not in visited and id(value) not in _SERVERLESS:
            visited[id(value)] = value
            waiting += _references(value)
    _SERVERLESS.update(visited)
    return False


def _references(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        yield from value
    elif isinstance(value, type):
        yield from (*value.__bases__, *vars(value).values())
    elif isinstance(value, (classmethod, staticmethod)) or callable(value):
        function = inspect.unwrap(value)
        if isinstance(function, FunctionType) and _is_of_tests(function.__code__.co_filename):
            yield from _references_of(function)


def _references_of(function: FunctionType) -> Iterator[Any]:
    if function.__name__ in EXCEPT_IN:
        return
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for code in _nested(function.__code__):
        yield from code.co_consts
        for name in code.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, ModuleType) and _is_of_tests(getattr(value, "__file__", None)):
                yield from (vars(value).get(other) for other in code.co_names)
            else:
                yield value


def _is_of_tests(path: str | None) -> bool:
    return path is not None and path.startswith(TESTS)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
