"""The commands of an operator, on a real server."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.alterations import flip_byte
from support.calls import wait_until
from support.explained import write_explained
from support.server import FRESH, ServerProcess
from support.tiny import write_tiny
from typer.testing import CliRunner, Result

from convscope.client import AdminClient, FailedPreconditionError
from convscope.client.cli import app


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The admin address of a server of two versions."""
    with administered(tmp_path) as address:
        yield address


@pytest.fixture(scope="module")
def shared_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same, for tests that change nothing."""
    with administered(tmp_path_factory.mktemp("shared")) as address:
        yield address


@contextmanager
def administered(root: Path) -> Iterator[str]:
    for version in (1, 2):
        write_tiny(root, version=version)
    address = f"unix:{root / '.admin.sock'}"
    with ServerProcess(root, "--poll-seconds", "0", "--admin-address", address):
        yield address


def admin(address: str, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, ["admin", *arguments], env={"CONVSCOPE_ADMIN": address, "COLUMNS": "120"}
    )


def test_operator_lists_sets_an_alias_and_unloads(address: str) -> None:
    shown = admin(address, "alias", "tiny", "champion", "1")
    assert (shown.exit_code, shown.stderr) == (0, "")
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert ["tiny", "v2", "(default)", "ready", "cpu"] in rows
    assert ["tiny", "v1", "ready", "champion", "cpu"] in rows
    assert admin(address, "unload", "tiny", "2").exit_code == 0
    (status,) = map(json.loads, admin(address, "status", "--json").stdout.splitlines())
    assert [version["version"] for version in status["versions"]] == [1]
    assert status["aliases"] == {"champion": 1}


def test_status_shows_which_versions_are_explained(address: str, tmp_path: Path) -> None:
    write_explained(tmp_path, version=3)
    shown = admin(address, "load", "tiny")
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert ["tiny", "v3", "(default)", "ready", "cpu,", "explained"] in rows
    write_tiny(tmp_path, version=4)
    (status,) = map(json.loads, admin(address, "load", "tiny", "--json").stdout.splitlines())
    assert [(v["version"], v["explained"]) for v in status["versions"]] == [(4, False)]


def test_unloaded_model_is_shown_with_the_command_that_loads_it(address: str) -> None:
    for arguments in (("unload", "tiny"), ("status", "tiny"), ("status",)):
        shown = admin(address, *arguments)
        assert shown.exit_code == 0
        assert ["tiny", "unloaded"] in [line.split() for line in shown.stdout.splitlines()]
        assert shown.stderr == (
            "tiny: tiny is unloaded; `convscope admin load tiny` loads it again\n"
        )
    assert "no model 'cat'" in admin(address, "status", "cat").stderr


def test_rejected_version_is_reported_with_its_reason(address: str, tmp_path: Path) -> None:
    flip_byte(write_tiny(tmp_path, version=3) / "model.onnx", 50)
    failed = admin(address, "load", "tiny")
    assert failed.exit_code == 1
    assert "tiny v3 was rejected: the SHA-256 of model.onnx is" in failed.stderr
    with AdminClient(address) as client:
        (status,) = client.status("tiny")
        assert [(v.version, v.state, v.reason) for v in status.versions] == [
            (3, "refused", "hash"),
            (2, "ready", ""),
        ]
        with pytest.raises(FailedPreconditionError, match="SHA-256"):
            client.set_alias("tiny", "champion", 3)
        aliases = client.status("tiny")[0].aliases
        assert aliases == {}
        with pytest.raises(KeyError, match="the model has no alias 'champion'; it has none"):
            aliases["champion"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("load", "cat"), 1, "no model 'cat'; the repository has: tiny"),
        (("unload", "tiny", "7"), 1, "tiny has no version 7; the repository has: 1, 2"),
        (("alias", "tiny", "x/y", "1"), 1, "'x/y' can't be an alias"),
        (("alias", "tiny", "champion"), 64, "give either a version or --remove"),
        (("alias", "tiny", "champion", "1", "--remove"), 64, "give either a version or --remove"),
    ],
)
def test_mistakes_are_reported(
    shared_address: str, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = admin(shared_address, *arguments)
    assert done.exit_code == code
    assert message in done.stderr


def test_missing_admin_listener_is_reported(tmp_path: Path) -> None:
    done = admin(f"unix:{tmp_path / 'nothing'}", "status")
    assert done.exit_code == 1
    assert "no server answers at unix:" in done.stderr
    assert f"--admin-address unix:{tmp_path / 'nothing'} (" in done.stderr


@pytest.mark.parametrize("transport", ["http2", "grpc-aio"])
def test_only_the_user_of_the_server_can_connect_to_the_socket(
    tiny_repository: Path, tmp_path: Path, transport: str
) -> None:
    path = tmp_path / "admin.sock"
    flags = ("--transport", transport, "--admin-address", f"unix:{path}")
    before = os.umask(0)  # as in many containers
    try:
        with ServerProcess(tiny_repository, *flags, command=FRESH):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert admin(f"unix:{path}", "status").exit_code == 0
    finally:
        os.umask(before)


def test_port_without_admin_service_is_reported(tiny_server: ServerProcess) -> None:
    done = admin(tiny_server.target, "status")
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: {tiny_server.target} has no AdminService; "
        "use the address of the server's --admin-address\n"
    )


def test_fallback_is_reported(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    address = f"unix:{tmp_path / '.admin.sock'}"
    flags = ("--provider", "openvino,cpu", "--allow-fallback", "--admin-address", address)
    with ServerProcess(tmp_path, *flags) as server:
        shown = admin(address, "status")
        assert "cpu instead of openvino" in shown.stdout
        with AdminClient(address) as client:
            ((version,),) = (status.versions for status in client.status())
        assert (version.provider, version.fallback_from) == ("cpu", "openvino")
        for verb in ("unload", "load"):  # as the alert advises: a load chooses the provider again
            assert admin(address, verb, "tiny").exit_code == 0
        wait_until(lambda: [one["event"] for one in server.log].count("provider fallback") == 2)
        env = {"COLUMNS": "120"}
        for arguments in (["models"], ["models", "tiny"]):
            result = CliRunner().invoke(app, [*arguments, "--server", server.target], env=env)
            assert "cpu instead of openvino, fp32" in result.stdout
