"""Import cycles between the modules of a room, read from the source."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path


def find_cycle(folder: Path, package: str) -> list[str]:
    """Return an import cycle of a package, as module names; empty if there is none.

    Imports inside functions and under TYPE_CHECKING count too. That a module
    imports the packages above it doesn't count.
    """
    names = {_name(path, folder, package): path for path in sorted(folder.rglob("*.py"))}
    graph = {name: set(_imports(path, name, names)) - {name} for name, path in names.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


def _name(path: Path, folder: Path, package: str) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join((package, *(part for part in parts if part != "__init__")))


def _imports(path: Path, name: str, modules: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            source = _source(node, name, path)
            submodules = {f"{source}.{alias.name}" for alias in node.names}
            found = submodules & modules.keys()
            yield from found
            if source in modules and len(found) < len(node.names):
                yield source


def _source(node: ast.ImportFrom, name: str, path: Path) -> str:
    if not node.level:
        return node.module or ""
    depth = node.level - (path.name == "__init__.py")
    package = name.split(".")[: len(name.split(".")) - depth]
    return ".".join((*package, *filter(None, [node.module])))
