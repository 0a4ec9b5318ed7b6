"""The reference of the SDK: what `convscope.client` exports, for mkdocstrings."""

import inspect
import re

import convscope.client
from convscope.client import ConvscopeError

__all__ = ["python_page"]

_CLIENTS = ("Client", "AsyncClient", "AdminClient")
_GROUPS = ("Clients", "Images and requests", "Results", "Models", "Other", "Errors")
_INTRODUCTION = """# The Python SDK

Everything that `convscope.client` exports, made from its docstrings. [The Python
SDK](../guides/python.md) shows how to use it. `Client` and `AsyncClient` have the same methods;
those of `AsyncClient` are awaited.

| group | names |
|---|---|
"""


def python_page() -> str:
    """Return the page, with a heading for each group and a directive for each name."""
    groups: dict[str, list[str]] = {group: [] for group in _GROUPS}
    for name in sorted(convscope.client.__all__, key=_order):
        groups[_group(name)].append(name)
    lines = []
    rows = []
    for group, names in groups.items():
        if names:
            links = ", ".join(f"[`{name}`][convscope.client.{name}]" for name in names)
            rows.append(f"| {group} | {links} |")
            lines.append(f"## {group}\n")
            lines += [f"::: convscope.client.{name}\n" for name in names]
    return _INTRODUCTION + "\n".join([*rows, "", *lines])


def _order(name: str) -> tuple[int, str]:
    return (_CLIENTS.index(name) if name in _CLIENTS else len(_CLIENTS), name)


def _group(name: str) -> str:
    member = getattr(convscope.client, name)
    if name in _CLIENTS:
        return "Clients"
    if inspect.isclass(member) and issubclass(member, ConvscopeError):
        return "Errors"
    if re.search(r"(Like|Selection|Priority|Tensor|Explain|Rank)$", name):
        return "Images and requests"
    if re.search(r"^(Model|Metric|Provenance|Resize|Version|Traffic|Execution)|Info$", name):
        return "Models"
    if inspect.isclass(member):
        return "Results"
    return "Other"
