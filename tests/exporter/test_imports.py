"""The folders of the exporter import in one direction, and no modules import each other."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import convscope.exporter

PACKAGE = "convscope.exporter"
ROOT = Path(convscope.exporter.__path__[0])
# Each folder may import itself and those after it.
ORDER = (
    "__main__",
    "cli",
    "commands",
    "training",
    "foreign",
    "conversion",
    "fp16",
    "quantization",
    "evaluation",
    "repositories",
    "bundles",
    "explanations",
    "pyramid",
    "outputs",
    "graphs",
    "architectures",
    "datasets",
    "preprocessing",
    "starter",
    "home",
    "errors",
)


def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of each module by its name within the exporter."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text())
    return found


def imports(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """Yield the modules of the exporter that a module imports, inside functions too."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = (node.module or "").removeprefix(PACKAGE).removeprefix(".")
        if node.module is None or not node.module.startswith(PACKAGE):
            continue
        inner = [f"{base}.{alias.name}".removeprefix(".") for alias in node.names]
        yield from (name if name in known else base for name in inner)


def graph() -> dict[str, set[str]]:
    trees = modules()
    return {name: set(imports(tree, set(trees))) - {name, ""} for name, tree in trees.items()}


def test_every_folder_has_a_place_in_the_order() -> None:
    assert {name.partition(".")[0] for name in modules()} - {""} <= set(ORDER)


def test_folders_import_only_later_ones() -> None:
    rank = {folder: position for position, folder in enumerate(ORDER)}
    wrong = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if name and rank[other.partition(".")[0]] < rank[name.partition(".")[0]]
    ]
    assert wrong == []


def test_no_modules_import_each_other() -> None:
    assert len(list(TopologicalSorter(graph()).static_order())) == len(modules())
