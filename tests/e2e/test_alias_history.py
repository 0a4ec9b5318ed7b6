"""One history of aliases: `convscope admin alias` and `convscope-exporter promote` share it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.calls import wait_until
from support.server import ServerProcess
from support.tiny import write_tiny
from typer.testing import CliRunner

from convscope.client.cli import app as client
from convscope.exporter.cli import app as exporter

pytestmark = pytest.mark.one_transport("reads a repository")


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    for version in (1, 2, 3):
        write_tiny(tmp_path, version=version)
    address = f"unix:{tmp_path / '.admin.sock'}"
    with ServerProcess(tmp_path, "--poll-seconds", "0.1", "--admin-address", address):
        yield tmp_path


def admin(repository: Path, *arguments: str) -> str:
    address = f"unix:{repository / '.admin.sock'}"
    done = CliRunner().invoke(client, ["admin", *arguments], env={"CONVSCOPE_ADMIN": address})
    assert done.exit_code == 0, done.stderr
    return done.stdout


def alias(repository: Path, *arguments: str) -> None:
    admin(repository, "alias", "tiny", "champion", *arguments)


def promote(repository: Path, *arguments: str) -> str:
    options = ["--alias", "champion", "--repository", str(repository)]
    done = CliRunner().invoke(exporter, ["promote", "tiny", *arguments, *options])
    return done.stdout + done.stderr


def served(repository: Path) -> int | None:
    """The version that the running server has for the alias."""
    (status,) = map(json.loads, admin(repository, "status", "--json").splitlines())
    version: int | None = status["aliases"].get("champion")
    return version


def test_back_undoes_what_the_server_and_the_exporter_did(repository: Path) -> None:
    alias(repository, "1")
    assert promote(repository, "2") == "champion: v1 -> v2\n"
    alias(repository, "3")
    assert promote(repository, "--back") == "champion: v3 -> v2\n"
    wait_until(lambda: served(repository) == 2)
    assert promote(repository, "--back") == "champion: v2 -> v1\n"
    wait_until(lambda: served(repository) == 1)
    assert "named no other existing version before v1" in promote(repository, "--back")


def test_what_follows_a_back_replaces_what_it_undid(repository: Path) -> None:
    for version in ("1", "2"):
        alias(repository, version)
    promote(repository, "--back")
    alias(repository, "3")
    assert promote(repository, "--back") == "champion: v3 -> v1\n"


def test_back_restores_an_alias_that_the_server_removed(repository: Path) -> None:
    alias(repository, "2")
    alias(repository, "--remove")
    alias(repository, "--remove")  # removing what doesn't exist changes nothing
    assert served(repository) is None
    assert promote(repository, "--back") == "champion: none -> v2\n"
    wait_until(lambda: served(repository) == 2)
