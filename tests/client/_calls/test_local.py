"""Clients whose models are in their own process, compared with those of a server."""

import asyncio
import logging
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.alterations import flip_byte
from support.explained import write_explained
from support.processes import descendants
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.client import (
    AsyncClient,
    Client,
    Explain,
    FailedPreconditionError,
    NotFoundError,
    UnavailableError,
)

RED = np.full((8, 8, 3), (200, 30, 20), np.uint8)
PROGRAM = """
import sys
from convscope.client import Client
client = Client.local(sys.argv[1], model="tiny")  # it is not closed
import numpy as np
print(client.classify(np.full((8, 8, 3), (200, 30, 20), np.uint8)).top.label)
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("local")
    write_tiny(root)
    write_explained(root, "seen")
    return root


def traces(folder: Path) -> set[Any]:
    """Return the threads and child processes of this process, and the files of a folder."""
    threads = {thread for thread in threading.enumerate() if thread.name != "grpc"}
    return {*threads, *descendants(os.getpid()), *folder.iterdir()}


def test_the_results_are_those_of_a_server(repository: Path) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (60, 90, 3), np.uint8)
    options: dict[str, Any] = {"top_k": 3, "feature_maps": ["conv"]}
    with ServerProcess(repository) as server, Client(server.target) as remote:
        seen = [summary.model for summary in remote.models()]
        with Client.local(repository) as local:
            assert [summary.model for summary in local.models()] == seen
            for model in seen:
                explain = 2 if model == "seen" else Explain(method="occlusion")
                ours, theirs = (
                    client.classify(photo, model=model, explain=explain, **options)
                    for client in (local, remote)
                )
                assert ours.classes == theirs.classes
                maps = [one.feature_maps["conv"].array for one in (ours, theirs)]
                assert (maps[0] == maps[1]).all()
                for a, b in zip(ours.explanations, theirs.explanations, strict=True):
                    assert a.logit == b.logit
                    assert (a.target, a.against) == (b.target, b.against)
                    assert (a.array == b.array).all()


def test_nothing_is_left_and_nothing_is_printed(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = traces(tmp_path)
    for _ in range(2):
        with Client.local(repository) as client:
            assert client.health()
            results = client.classify_many([RED] * 100, model="tiny")
            assert {one.top.label for one in results} == {"red"}
            (directory,) = tmp_path.iterdir()
            assert directory.stat().st_mode & 0o077 == 0
        with pytest.raises(UnavailableError, match="is closed"):
            client.models()
    assert traces(tmp_path) <= before
    assert capfd.readouterr() == ("", "")


async def test_asyncio(repository: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    async with AsyncClient.local(repository, model="tiny") as client:
        results = await asyncio.gather(*(client.classify(RED) for _ in range(50)))
    assert {one.top.label for one in results} == {"red"}
    # The pools of asyncio and of the client stay, and gRPC's thread for asyncio. No thread of the
    # server does.
    staying = ("asyncio_", f"convscope-{os.getpid()}_", "_poll_wrapper")
    left = {thread.name for thread in threading.enumerate()} - before
    assert [name for name in left if not any(each in name for each in staying)] == []


def test_log_lines_go_to_the_loggers_of_the_standard_library(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "convscope.server"), Client.local(repository):
        pass
    assert any("serving" in record.message for record in caplog.records)


def test_a_program_that_does_not_close_it_ends(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(repository)]
    done = subprocess.run(
        command,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("red\n", "")
    assert list(tmp_path.iterdir()) == []


def test_settings_are_those_of_the_server(repository: Path) -> None:
    settings = {"load": "tiny", "max_inputs": 7}
    with Client.local(repository, settings=settings) as client:
        assert [summary.model for summary in client.models()] == ["tiny"]
        assert client.classify(RED).model == "tiny"
        assert client.server_info().limits.max_inputs == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"provder": "cpu"}, "there is no setting 'provder' of a local server; did you mean"),
        ({"grpc_address": "0.0.0.0:1"}, "there is no setting 'grpc_address' of a local server"),
        ({"max_inputs": 0}, "the setting max_inputs is 0: "),
        ({"load": "cat"}, "load names cat, and /.* has: seen, tiny"),
    ],
)
def test_invalid_settings(repository: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FailedPreconditionError, match=f"^{message}"):
        Client.local(repository, settings=settings)


def test_a_folder_without_models(tmp_path: Path) -> None:
    with pytest.raises(FailedPreconditionError, match=r"^/.*missing is not a directory;"):
        Client.local(tmp_path / "missing")
    with pytest.raises(FailedPreconditionError, match=r"^/.* holds no model"):
        Client.local(tmp_path)


def test_a_model_in_the_place_of_the_repository(repository: Path) -> None:
    with Client.local(repository / "tiny") as client:
        assert [summary.model for summary in client.models()] == ["tiny"]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("load", ["all", "on-demand"])
def test_a_misspelled_model_is_an_error_at_once(
    repository: Path, kind: type[Client] | type[AsyncClient], load: str
) -> None:
    before = threading.active_count()
    settings = {"load": load}
    with pytest.raises(NotFoundError, match=r"has no model 'tny' .*; did you mean 'tiny'\?$"):
        kind.local(repository, model="tny", settings=settings)
    with pytest.raises(NotFoundError, match=r"; it has: seen, tiny$"):
        kind.local(repository, model="cat", settings=settings)
    assert threading.active_count() <= before
    with Client.local(repository, model="tiny", settings=settings) as client:
        assert client.classify(RED).model == "tiny"


def test_a_damaged_bundle_is_rejected(tmp_path: Path) -> None:
    flip_byte(write_tiny(tmp_path) / "model.onnx", 9)
    with pytest.raises(FailedPreconditionError, match=r"was rejected: tiny v1: the SHA-256"):
        Client.local(tmp_path)


def test_a_local_client_is_not_pickled(repository: Path) -> None:
    with Client.local(repository) as client, pytest.raises(TypeError, match="in this process"):
        pickle.dumps(client)


def test_without_the_server_the_repair_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "convscope.server.local", None)
    with pytest.raises(ModuleNotFoundError, match=r"run: pip install '\.\[server\]'"):
        Client.local("models")
