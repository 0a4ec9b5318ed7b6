"""Clients in forked processes, in other event loops, and in pickles."""

import asyncio
import copy
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from support.server import ServerProcess

from convscope.client import AsyncClient, Client, Retries, UnavailableError

RED = np.full((8, 8, 3), (200, 30, 20), np.uint8)
# Calls of threads overlap with forks. If gRPC can't prepare for a fork, it says so in a line on the
# error output, and some of the processes hang or crash.
FORKED = """
import os, sys, threading
import numpy as np
from convscope.client import Client

client = Client(sys.argv[1], model="tiny")
red = np.full((8, 8, 3), (200, 30, 20), np.uint8)
end = threading.Event()

def one():
    return {client.classify(red).top.label for _ in range(5)}

def many():
    return {result.top.label for result in client.classify_many([red] * 200)}

def repeat(call):
    while not end.is_set():
        assert call() == {"red"}

assert one() == {"red"}
threads = [threading.Thread(target=repeat, args=[call]) for call in (one, one, many)]
for thread in threads:
    thread.start()
for _ in range(20):
    child = os.fork()
    if not child:
        os._exit(0 if one() == many() == {"red"} else 1)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), end=" ")
end.set()
for thread in threads:
    thread.join()
print(*one())
"""
FORKED_ASYNCIO = """
import asyncio, os, sys
from convscope.client import AsyncClient, UnavailableError

used, unused = AsyncClient(sys.argv[1]), AsyncClient(sys.argv[1])
assert asyncio.run(used.health())
if not os.fork():
    for client in (used, unused):
        try:
            asyncio.run(client.health())
        except UnavailableError as error:
            print(error, flush=True)
    os._exit(0)
os.wait()
assert asyncio.run(used.health())
"""
SPAWNED = """
import multiprocessing, sys
import numpy as np
from convscope.client import Client

def classify(task):
    client, value = task
    return client.classify(np.full((8, 8, 3), value, np.uint8)).top.label

if __name__ == "__main__":
    with Client(sys.argv[1], model="tiny") as client:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(*pool.map(classify, [(client, (200, 30, 20)), (client, (30, 20, 220))]))
"""


def run(program: str, tmp_path: Path, target: str, *, quiet: bool = True) -> str:
    path = tmp_path / "program.py"
    path.write_text(program)
    command = [sys.executable, str(path), target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not (quiet and done.stderr), done.stderr
    return done.stdout.strip()


# Processes


def test_forked_processes_connect_again_during_calls(
    tiny_server: ServerProcess, tmp_path: Path
) -> None:
    assert run(FORKED, tmp_path, tiny_server.target) == 20 * "0 " + "red"


def test_asyncio_in_a_forked_process_is_an_error(
    tiny_server: ServerProcess, tmp_path: Path
) -> None:
    first, second = run(FORKED_ASYNCIO, tmp_path, tiny_server.target, quiet=False).splitlines()
    assert first == second
    assert first.endswith("use Client there, or start processes with spawn or forkserver")


def test_a_pool_of_processes_gets_the_client(tiny_server: ServerProcess, tmp_path: Path) -> None:
    assert run(SPAWNED, tmp_path, tiny_server.target) == "red blue"


# Event loops


def test_a_client_connects_again_after_its_event_loop_was_closed(
    tiny_server: ServerProcess,
) -> None:
    client = AsyncClient(tiny_server.target)

    async def label() -> str:
        return (await client.classify(RED, model="tiny")).top.label

    assert [asyncio.run(label()) for _ in range(3)] == ["red"] * 3
    asyncio.run(client.close())
    with pytest.raises(UnavailableError, match="is closed; make a new one"):
        asyncio.run(label())


def test_a_client_of_another_running_loop_is_an_error(tiny_server: ServerProcess) -> None:
    client = AsyncClient(tiny_server.target)
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    try:
        used = asyncio.run_coroutine_threadsafe(client.classify(RED, model="tiny"), other)
        assert used.result(30).top.label == "red"
        with pytest.raises(UnavailableError, match="make one client for each event loop"):
            asyncio.run(client.models())
        asyncio.run_coroutine_threadsafe(client.close(), other).result(30)
    finally:
        other.call_soon_threadsafe(other.stop)
        thread.join()
        other.close()


# Closing


def test_closing_ends_the_calls_of_other_threads(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    servicer.gate.clear()
    client, errors = Client(target, model="m"), []

    def one() -> None:
        with pytest.raises(UnavailableError) as info:
            client.classify(b"x")
        errors.append(info.value.message)

    def many() -> None:
        with pytest.raises(UnavailableError) as info:
            client.classify_many([b"x"]).collect()
        errors.append(info.value.message)

    threads = [threading.Thread(target=call) for call in (one, many)]
    for thread in threads:
        thread.start()
    while len(servicer.requests) < len(threads):
        time.sleep(0.01)
    client.close()
    for thread in threads:
        thread.join()
    assert [f"the client of {target} is closed" in error for error in errors] == [True, True]


def test_a_closed_client_does_not_wait_until_it_is_ready(make_caller: Any) -> None:
    caller = make_caller("localhost:1")
    caller.close()
    with pytest.raises(UnavailableError, match="is closed; make a new one"):
        caller.wait_ready(60)


# Pickles


def test_a_pickle_connects_again_with_the_same_options(
    make_caller: Any, tiny_server: ServerProcess
) -> None:
    retries, metadata = Retries(attempts=1), {"x-request-id": "copied"}
    caller = make_caller(
        tiny_server.target, model="tiny", timeout_seconds=9, retries=retries, metadata=metadata
    )
    caller.client = pickle.loads(pickle.dumps(caller.client))
    assert caller.classify(RED).top.label == "red"
    assert repr(caller.client).endswith(f"Client('{tiny_server.target}', model='tiny')")
    caller.client = copy.copy(caller.client)
    assert caller.classify(RED).top.label == "red"


def test_a_pickle_has_the_path_of_a_secret_and_not_the_secret(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("secret-token")
    with Client("localhost:1", token_file=path) as client:
        pickled = pickle.dumps(client)
    assert b"secret-token" not in pickled
    pickle.loads(pickled).close()
    path.unlink()
    with pytest.raises(ValueError, match="can't be read"):
        pickle.loads(pickled)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"token": lambda: "secret"}, "its token is a function; use token_file"),
        ({"token": "secret"}, "the pickle would contain its token; use token_file"),
        ({"metadata": {"Authorization": "Bearer secret"}}, "would contain its token"),
        ({"tls": grpc.ssl_channel_credentials()}, "use root_certificates"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_with_a_secret_is_not_pickled(
    kind: type[Client | AsyncClient], options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(TypeError, match=f"^the client can't be pickled: .*{problem}"):
        pickle.dumps(kind("localhost:1", **options))
