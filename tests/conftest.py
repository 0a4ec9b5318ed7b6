"""Fixtures for the tests of every room."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.allocation import keep_freed_memory
from support.demo_models import export_demo_models
from support.order import fast_first, process_count, slow_first_in_each_part
from support.server import FRESH, ServerProcess
from support.sharing import shared_folder
from support.starting import starts_server
from support.tiny import write_signal, write_tiny
from support.web_process import WebProcess, fresh

# The rooms set this too. Some tests import ONNX Runtime directly.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# With several threads in each of several processes, those of PyTorch would mostly wait for cores.
if process_count() > 1:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
keep_freed_memory()
# The imports of all tests make millions of objects that stay.
gc.disable()
# The servers of the tests must not write to the user's own tuning cache.
os.environ["CONVSCOPE_TUNING_CACHE"] = str(Path(tempfile.mkdtemp()) / "tuning.json")

DATA = Path(__file__).parent / "data"


@pytest.hookimpl(tryfirst=True)  # before the selection by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start servers, and choose the order of all tests.

    Fast tests run first, or the processes of pytest-xdist end together.
    """
    for item in items:
        if starts_server(item):
            item.add_marker("server")
    count = process_count()
    items[:] = fast_first(items) if count == 1 else slow_first_in_each_part(items, count)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Check that a test that starts a server is among those that run on each transport."""
    started = ServerProcess.started
    yield
    if ServerProcess.started > started and item.get_closest_marker("server") is None:
        pytest.fail("it starts a server, and support.starting.starts_server overlooks it")


def pytest_collection_finish() -> None:
    """Exempt the hundreds of thousands of objects of PyTorch and pytest from garbage collection."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of two small models: "tiny" for images, "signal" for float32 tensors."""
    root = tmp_path_factory.mktemp("tiny")
    write_tiny(root)
    write_signal(root)
    return root


@pytest.fixture(scope="session")
def tiny_server(tiny_repository: Path) -> Iterator[ServerProcess]:
    """A server of the small models, shared by all tests that don't change it."""
    with ServerProcess(tiny_repository, command=FRESH) as server:
        yield server


@pytest.fixture(scope="session")
def demo_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundles of the demo, "efficientnet_lite0" and "digits"; only for slow tests."""
    return shared_folder(tmp_path_factory, "demo", export_demo_models)


@pytest.fixture(scope="session")
def demo_server(demo_repository: Path) -> Iterator[ServerProcess]:
    """A server of the demo's bundles, shared by all tests that don't change it."""
    with ServerProcess(demo_repository, command=FRESH) as server:
        yield server


@pytest.fixture(scope="session")
def demo_web(demo_server: ServerProcess) -> Iterator[WebProcess]:
    """A web process in front of it."""
    with WebProcess(demo_server.target, command=fresh(demo_server.target)) as web:
        yield web


@pytest.fixture(scope="session")
def coffee() -> Path:
    """The photo of a cup of coffee."""
    return DATA / "coffee.png"


@pytest.fixture(scope="session")
def digits() -> list[Path]:
    """A picture of each digit from 0 to 9."""
    return [DATA / "digits" / f"{digit}.png" for digit in range(10)]
