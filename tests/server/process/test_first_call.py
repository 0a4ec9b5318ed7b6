"""What a person at a terminal is told when the server serves."""

from pathlib import Path
from typing import Any

import pytest

from convscope.server.frontend.settings import FrontendSettings
from convscope.server.process import first_call

FILE = Path(__file__)


@pytest.mark.parametrize(
    ("settings", "port", "command"),
    [
        ({}, 8001, "convscope models"),
        ({}, 9001, "convscope models --server localhost:9001"),
        ({"grpc_address": "[::1]:0"}, 9001, "convscope models --server localhost:9001"),
        ({"grpc_address": "0.0.0.0:8001"}, 8001, "convscope models"),
        ({"grpc_address": "10.0.0.7:8001"}, 8001, "convscope models --server 10.0.0.7:8001"),
        (
            {"tls_certificate": FILE, "tls_client_ca": FILE, "policy": FILE},
            8001,
            "convscope models --root-certificates FILE --client-certificate FILE "
            "--client-key FILE --token-file FILE",
        ),
    ],
)
def test_the_command_reaches_the_server(
    settings: dict[str, Any], port: int, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["convscope-server"])
    assert first_call.call_command(FrontendSettings(**settings), port) == command


def test_the_program_has_a_path_if_the_shell_does_not_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tmp_path / "convscope"
    client.touch(0o755)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "convscope-server")])
    monkeypatch.setenv("PATH", "")
    assert first_call.call_command(FrontendSettings(), 8001) == f"{client} models"
    monkeypatch.chdir(tmp_path.parent)
    assert first_call.call_command(FrontendSettings(), 8001) == f"{tmp_path.name}/convscope models"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert first_call.call_command(FrontendSettings(), 8001) == "convscope models"
