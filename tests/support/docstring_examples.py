"""The examples in the docstrings of the public names, and how they run."""

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
from collections.abc import Iterator
from types import ModuleType
from typing import Any

__all__ = ["documented", "run_examples"]

_CHECKER = doctest.OutputChecker()
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_PARSER = doctest.DocTestParser()


def documented(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Yield each public function, class and method of a module, with its docstring.

    A method of a base class counts once, for the class that is public.
    """
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isfunction(value):
            yield name, inspect.getdoc(value) or ""
        if not inspect.isclass(value):  # an alias of a type has no docstring
            continue
        yield name, value.__doc__ or ""
        for method, function in inspect.getmembers(value, inspect.isroutine):
            is_ours = (getattr(function, "__module__", None) or "").startswith("convscope.")
            inherited = any(
                method in vars(getattr(module, other))
                for other in module.__all__
                if inspect.isclass(getattr(module, other)) and getattr(module, other) is not value
                if issubclass(value, getattr(module, other))
            )
            if not method.startswith("_") and is_ours and not inherited:
                yield f"{name}.{method}", inspect.getdoc(function) or ""


def run_examples(
    docstring: str, names: dict[str, Any], replaced: dict[str, str], runner: asyncio.Runner
) -> list[str]:
    """Run the examples of a docstring, and return what differs from their output.

    They may await. The output of a statement may be shortened to "...".

    Args:
        docstring: The docstring.
        names: The names that examples may use.
        replaced: Texts of the examples, such as addresses, and what they stand for.
        runner: Runs coroutines.
    """
    differences = []
    for example in _PARSER.get_examples(inspect.cleandoc(docstring)):
        source = example.source
        for text, other in replaced.items():
            source = source.replace(text, other)
        found = _run(source, names, runner)
        for text, other in replaced.items():
            found = found.replace(other, text)
        if not _CHECKER.check_output(example.want, found, _OPTIONS):
            differences.append(f"{example.source}expected {example.want!r}, found {found!r}")
    return differences


def _run(source: str, names: dict[str, Any], runner: asyncio.Runner) -> str:
    """Run a statement as the interactive interpreter does, and return what it prints."""
    code = compile(source, "<example>", "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        result = eval(code, names)
        if inspect.iscoroutine(result):
            runner.run(result)
    return out.getvalue()
