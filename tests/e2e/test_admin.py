"""What an operator does from a terminal, on a real server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.alterations import flip_byte
from support.calls import wait_until
from support.server import ServerProcess
from support.tiny import write_tiny
from typer.testing import CliRunner, Result

from convscope.client import AdminClient, FailedPreconditionError
from convscope.client.cli import app


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    address = f"unix:{tmp_path / '.admin.sock'}"
    with ServerProcess(tmp_path, "--poll-seconds", "0", "--admin-address", address):
        yield address


def admin(address: str, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, ["admin", *arguments], env={"CONVSCOPE_ADMIN": address, "COLUMNS": "120"}
    )


def test_operator_sees_names_and_unloads(address: str) -> None:
    shown = admin(address, "alias", "tiny", "champion", "1")
    assert (shown.exit_code, shown.stderr) == (0, "")
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert ["tiny", "v2", "(default)", "ready", "cpu"] in rows
    assert ["tiny", "v1", "ready", "champion", "cpu"] in rows
    assert admin(address, "unload", "tiny", "2").exit_code == 0
    (status,) = map(json.loads, admin(address, "status", "--json").stdout.splitlines())
    assert [version["version"] for version in status["versions"]] == [1]
    assert status["aliases"] == {"champion": 1}


def test_rejected_version_is_shown_with_its_reason(address: str, tmp_path: Path) -> None:
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
        assert client.status("tiny")[0].aliases == {}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("load", "cat"), 1, "no model 'cat'; the repository has: tiny"),
        (("unload", "tiny", "7"), 1, "tiny has no version 7; the repository has: 1, 2"),
        (("alias", "tiny", "x/y", "1"), 1, "'x/y' can't be an alias"),
        (("alias", "tiny", "champion"), 2, "give either a version or --remove"),
        (("alias", "tiny", "champion", "1", "--remove"), 2, "give either a version or --remove"),
    ],
)
def test_mistakes_are_told(
    address: str, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = admin(address, *arguments)
    assert done.exit_code == code
    assert message in done.stderr


def test_no_admin_listener_is_told(tmp_path: Path) -> None:
    done = admin(f"unix:{tmp_path / 'nothing'}", "status")
    assert done.exit_code == 1
    assert "no server answers at unix:" in done.stderr


def test_fallback_is_told(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    address = f"unix:{tmp_path / '.admin.sock'}"
    flags = ("--provider", "openvino,cpu", "--allow-fallback", "--admin-address", address)
    with ServerProcess(tmp_path, *flags) as server:
        shown = admin(address, "status")
        assert "cpu instead of openvino" in shown.stdout
        with AdminClient(address) as client:
            ((version,),) = (status.versions for status in client.status())
        assert (version.provider, version.fallback_from) == ("cpu", "openvino")
        for verb in ("unload", "load"):  # as the alert says: the provider is chosen anew
            assert admin(address, verb, "tiny").exit_code == 0
        wait_until(lambda: [one["event"] for one in server.log].count("provider fallback") == 2)
        env = {"COLUMNS": "120"}
        for arguments in (["models"], ["models", "tiny"]):
            result = CliRunner().invoke(app, [*arguments, "--server", server.target], env=env)
            assert "cpu instead of openvino, fp32" in result.stdout
