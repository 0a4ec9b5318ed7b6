"""The server's folders import downwards only, in the order in which a request passes them."""

import ast
from collections.abc import Iterator
from pathlib import Path

SERVER = Path(__file__).parents[2] / "server" / "convscope" / "server"
LAYERS = [
    *("config", "process", "frontend", "inference", "runtime", "repository", "observability"),
]
# The entry points wire all folders together; every folder may raise the errors.
TOP = {"__init__", "__main__", "app", "embedded", "errors", "local"}


def test_no_module_lies_beside_the_folders() -> None:
    assert {path.stem for path in SERVER.glob("*.py")} == TOP
    folders = {path.name for path in SERVER.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders == set(LAYERS)


def test_imports_point_down() -> None:
    assert sorted(_upward_imports()) == []


def test_errors_import_nothing_of_the_server() -> None:
    assert list(_imported(SERVER / "errors.py")) == []


def _upward_imports() -> Iterator[str]:
    for rank, layer in enumerate(LAYERS):
        for path in (SERVER / layer).rglob("*.py"):
            for module in _imported(path):
                folder = module.split(".")[2]
                if folder != "errors" and folder not in LAYERS[rank:]:
                    yield f"{path.relative_to(SERVER)} imports {module}"


def _imported(path: Path) -> Iterator[str]:
    """Every module of the server that a file names, inside functions and for types as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith("convscope.server."))
