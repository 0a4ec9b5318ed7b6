"""Every public class and method of the client has an example that runs."""

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.docstring_examples import documented, run_examples
from support.server import ServerProcess

import convscope.client

DOCSTRINGS = dict(documented(convscope.client))


@dataclass(frozen=True)
class Place:
    """Where the examples run: the names that they use, and the addresses of the servers."""

    names: dict[str, Any]
    addresses: dict[str, str]
    runner: asyncio.Runner


@pytest.fixture(scope="module")
def place(
    demo_repository: Path,
    coffee: Path,
    digits: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("examples")
    shutil.copytree(demo_repository, root / "models")
    shutil.copy(coffee, root / "coffee.png")
    shutil.copytree(digits[0].parent, root / "digits")
    socket = f"unix:{root / 'admin.sock'}"
    with (
        ServerProcess(root / "models", "--admin-address", socket) as server,
        asyncio.Runner() as run,
    ):
        names = {name: getattr(convscope.client, name) for name in convscope.client.__all__}
        client = convscope.client.Client(server.target)
        admin = convscope.client.AdminClient(socket)
        async_client = convscope.client.AsyncClient(server.target)
        names |= {"client": client, "admin": admin, "async_client": async_client}
        names |= {"asyncio": asyncio, "np": np, "Path": Path, "Image": Image}
        with client, admin, pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            yield Place(names, {"localhost:8001": server.target, "unix:admin.sock": socket}, run)
            run.run(async_client.close())


@pytest.mark.parametrize("name", DOCSTRINGS)
def test_it_has_an_example(name: str) -> None:
    assert ">>> " in DOCSTRINGS[name]


@pytest.mark.slow(seconds=1)
@pytest.mark.timeout(900)  # the first test exports the models of the demo
@pytest.mark.one_transport("the examples are about the client")
@pytest.mark.parametrize("name", DOCSTRINGS)
def test_its_examples_run(name: str, place: Place) -> None:
    found = run_examples(DOCSTRINGS[name], dict(place.names), place.addresses, place.runner)
    assert found == []
