"""Publishers that are killed, and remote repositories that are lost, while a server polls them."""

import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from support.calls import sample, wait_until
from support.chaos.load import load
from support.chaos.rounds import rounds
from support.s3 import BUCKET, S3Server
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.client import Client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.one_transport("follows repositories"),
]

RATE = 50.0
CALLS = 50
POLL = ("--poll-seconds", "0.05")
# Publishes versions until it is killed.
PUBLISHER = """
import sys
from itertools import count
from pathlib import Path
from convscope.bundle.opening import open_repository
from convscope.bundle.publishing import prepare, publish
from convscope.bundle.reader import read_bundle

bundle, repository = read_bundle(Path(sys.argv[1])), open_repository(sys.argv[2])
print("ready", flush=True)
for number in count(int(sys.argv[3])):
    publish(repository, prepare(bundle, number))
"""


def serves(server: ServerProcess, latest: int) -> bool:
    """Return whether the latest version of the model is this one."""
    with Client(server.target) as client:
        return max(summary.version for summary in client.models()) == latest


def test_publishers_that_are_killed_harm_no_caller(tmp_path: Path) -> None:
    source, repository = write_tiny(tmp_path / "source"), tmp_path / "models"
    write_tiny(repository)
    moments, number = random.Random(0), 2
    with ServerProcess(repository, *POLL) as server, load(server.target, RATE) as callers:
        for _ in range(rounds(2)):
            command = [sys.executable, "-c", PUBLISHER, str(source), str(repository), str(number)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as publisher:
                assert publisher.stdout is not None
                publisher.stdout.readline()
                time.sleep(moments.uniform(0, 0.1))
                publisher.kill()
            numbers = [int(p.name) for p in (repository / "tiny").iterdir() if p.name.isdecimal()]
            number = max(numbers) + 1
            callers.wait_for(CALLS)
            wait_until(partial(serves, server, number - 1))
        assert sample(server, "convscope_model_refused") == 0
    print(f"{rounds(2)} publishers killed, {number - 1} versions: {callers}")
    assert callers.errors == []


def test_a_remote_repository_that_is_lost_harms_no_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"s3://{BUCKET}/models"
    monkeypatch.setenv("CONVSCOPE_REPOSITORY_CACHE", str(tmp_path / "caches"))
    with S3Server() as s3:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        s3.put(write_tiny(tmp_path / "source"), url)
        with ServerProcess(url, *POLL) as server, load(server.target, RATE) as callers:
            callers.wait_for(CALLS)
            for number in range(2, 2 + rounds(2)):
                s3.pause()
                callers.wait_for(CALLS)
                s3.resume()
                s3.put(write_tiny(tmp_path / "source", version=number), url)
                wait_until(partial(serves, server, number))
            s3.stop()
            callers.wait_for(CALLS)
            wait_until(lambda: sample(server, "convscope_repository_sync_failures_total") > 0)
            callers.wait_for(CALLS)
    print(f"{rounds(2)} pauses of the remote repository, and its end: {callers}")
    assert callers.errors == []
