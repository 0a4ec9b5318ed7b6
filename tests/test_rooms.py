"""The rooms keep apart: what each may import, read from the source and not from a run."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("bundle", "client", "server", "exporter", "web")
# Every room may import convscope.v1 as well.
MAY_IMPORT = {
    "bundle": set(),
    # The web app for one command, and the server for local clients.
    "client": {"web", "server"},
    "server": {"bundle"},
    "exporter": {"bundle"},
    "web": {"client"},
}
BUNDLE_DEPENDENCIES = {"convscope", "fsspec", "google", "numpy", "onnx"}
# The extra `signing`, imported when a signature is made or required.
SIGNING = {"cryptography", "model_signing"}
EXPORTER_ONLY = {"lightning", "timm", "torch", "torchmetrics", "torchvision"}
FORBIDDEN = {
    "bundle": {"grpc", "onnxruntime", "prometheus_client", "rich", "structlog", "typer"}
    | EXPORTER_ONLY,
    "client": {"onnx", "onnxruntime", "prometheus_client"} | EXPORTER_ONLY,
    "server": {"cloudpickle", "dill", "joblib", "pickle", "shelve"} | EXPORTER_ONLY,
    "exporter": {"prometheus_client"},
    "web": {"onnx", "onnxruntime", "prometheus_client", "structlog", "PIL"} | EXPORTER_ONLY,
}
# Of the extra web, of FastAPI, and of the base install.
WEB_DEPENDENCIES = {
    *("fastapi", "httptools", "orjson", "python_multipart", "uvicorn"),
    *("pydantic", "starlette"),
    *("convscope", "google", "grpc", "numpy"),
}
WEB_ONLY = {"fastapi", "python_multipart", "starlette", "uvicorn"}


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room / "convscope" / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield _absolute(path, node)
            elif node.module == "convscope":
                yield from (f"convscope.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    package = path.relative_to(ROOT).with_suffix("").parts[1 : -node.level]
    return ".".join((*package, *filter(None, [node.module])))


def _names(path: Path, module: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for name in imports(path))


@pytest.mark.parametrize("room", ROOMS)
def test_room_has_sources(room: str) -> None:
    assert sources(room)


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_the_rooms_it_may(room: str) -> None:
    others = [f"convscope.{other}" for other in ROOMS if other not in {room} | MAY_IMPORT[room]]
    found = [(p.name, other) for p in sources(room) for other in others if _names(p, other)]
    assert found == []


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_nothing_forbidden(room: str) -> None:
    found = [(p.name, name) for p in sources(room) for name in FORBIDDEN[room] if _names(p, name)]
    assert found == []


def test_the_client_imports_the_web_app_in_one_command_when_it_runs() -> None:
    users = [path for path in sources("client") if _names(path, "convscope.web")]
    assert [path.name for path in users] == ["web.py"]
    top = ast.parse(users[0].read_text()).body
    names = [node.module for node in top if isinstance(node, ast.ImportFrom)]
    assert not any((name or "").startswith("convscope.web") for name in names)


def test_the_client_imports_the_server_for_local_clients_only() -> None:
    users = [path for path in sources("client") if _names(path, "convscope.server")]
    assert [path.name for path in users] == ["local.py"]
    named = {name for name in imports(users[0]) if name.startswith("convscope.server")}
    assert named == {"convscope.server.local"}


def test_only_the_web_app_imports_a_web_framework() -> None:
    users = {room for room in ROOMS for path in sources(room) for n in WEB_ONLY if _names(path, n)}
    assert users == {"web"}


def test_the_web_app_needs_only_its_extra() -> None:
    found = {name.partition(".")[0] for path in sources("web") for name in imports(path)}
    assert found - sys.stdlib_module_names == WEB_DEPENDENCIES


def test_the_web_app_uses_the_public_names_of_the_client() -> None:
    private = [
        (path.name, name)
        for path in sources("web")
        for name in imports(path)
        if name.startswith("convscope.client._")
    ]
    assert private == []


def test_bundle_needs_few_libraries() -> None:
    found = {name.partition(".")[0] for path in sources("bundle") for name in imports(path)}
    assert found - sys.stdlib_module_names == BUNDLE_DEPENDENCIES | SIGNING


def test_the_libraries_of_signatures_are_imported_only_for_them() -> None:
    users = {path.name for path in sources("bundle") for name in SIGNING if _names(path, name)}
    assert users == {"signatures.py", "signed_files.py", "signing.py"}


def test_onnx_is_imported_only_for_the_graph_contract() -> None:
    found = {path.name for path in sources("bundle") if _names(path, "onnx")}
    assert found == {"graph_contract.py", "light_graph.py"}


def test_a_bundle_is_read_without_onnx_and_fsspec() -> None:
    program = (
        "import sys, convscope.bundle.opening, convscope.bundle.reader, convscope.bundle.traffic\n"
        "print(*{'fsspec', 'grpc', 'onnx', 'onnxruntime', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_names_of_a_repository_are_changed_without_numpy() -> None:
    program = (
        "import sys, convscope.bundle.aliases, convscope.bundle.opening, convscope.bundle.pruning\n"
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_only_metrics_imports_prometheus() -> None:
    users = [path for path in sources("server") if _names(path, "prometheus_client")]
    assert {path.parent.name for path in users} == {"metrics"}


def test_only_tracing_imports_opentelemetry() -> None:
    users = [path.name for room in ROOMS for path in sources(room) if _names(path, "opentelemetry")]
    assert users == ["spans.py", "tracing.py"]


BATCHER = ("batcher", "moving_average", "queue")


@pytest.mark.parametrize("module", BATCHER)
def test_batcher_needs_only_the_standard_library(module: str) -> None:
    folder = ROOT / "server" / "convscope" / "server" / "inference"
    own = {f"convscope.server.inference.{name}" for name in BATCHER}
    found = set(imports(folder / f"{module}.py")) - own
    assert {name.partition(".")[0] for name in found} <= sys.stdlib_module_names


# What the rooms share; the commands of client and exporter need Typer as well.
SHARED = {
    "_commands": {"typer"},
    "_grpc_messages": set(),
    "_help_pages": set(),
    "_suggestions": set(),
    "_usage_errors": set(),
}


@pytest.mark.parametrize("module", SHARED)
def test_what_all_rooms_share_needs_only_the_standard_library(module: str) -> None:
    found = imports(ROOT / "client" / "convscope" / f"{module}.py")
    others = set(found) - {f"convscope.{name}" for name in SHARED}
    assert {name.partition(".")[0] for name in others} <= sys.stdlib_module_names | SHARED[module]


def test_namespace_has_no_init() -> None:
    folders = [ROOT / room / "convscope" for room in ("proto", *ROOMS)]
    assert [folder for folder in folders if not folder.is_dir()] == []
    assert [folder for folder in folders if (folder / "__init__.py").exists()] == []
