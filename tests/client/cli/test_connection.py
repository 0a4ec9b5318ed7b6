"""The options with which all commands reach a server."""

import os
from pathlib import Path

import pytest
from support.forked import run

ADDRESSES = {
    "localhost:abc": "the port 'abc' is not a number",
    "localhost": "the port is missing",
    "localhost:": "the port is missing",
    "http://localhost:8001": "without http://",
    ":8001": "the host is missing",
    "": "it is empty",
    "localhost:99999": "the port '99999' is not a number from 1 to 65535",
}
COMMANDS = {
    "classify": ("x.png", "--model", "m"),
    "explain": ("x.png", "--model", "m"),
    "models": (),
    "health": (),
    "bench": (__file__, "--model", "m"),
    "web": (),
}


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_address_is_named_with_the_fix(command: str, address: str) -> None:
    done = run("client", [command, *COMMANDS[command], "--server", address])
    assert (done.returncode, done.stdout) == (64, "")
    message = " ".join(done.stderr.split())
    assert "--server: " in message
    assert f"{address!r} is not an address; give HOST:PORT, such as " in message
    assert ADDRESSES[address] in message


def test_a_wrong_address_in_the_environment_is_named() -> None:
    done = run("client", ["models"], {**os.environ, "CONVSCOPE_SERVER": "here"})
    assert done.returncode == 64
    assert "'here' is not an address; give HOST:PORT" in " ".join(done.stderr.split())


def test_a_wrong_address_of_an_administrator_is_named() -> None:
    done = run("client", ["admin", "status", "--address", "here"])
    assert done.returncode == 64
    assert "'here' is not an address; give HOST:PORT" in " ".join(done.stderr.split())


@pytest.mark.parametrize("address", ["8002", "localhost", "localhost:abc", ":8002", ""])
def test_a_wrong_address_of_metrics_is_named(address: str) -> None:
    done = run("client", ["watch", address])
    assert done.returncode == 64
    message = " ".join(done.stderr.split())
    assert f"{address!r} is not an address; give HOST:PORT, such as " in message
    assert ":8002 (" in message
    assert "8002:8002" not in message


@pytest.mark.parametrize(
    ("command", "other"),
    [
        ("train", "convscope-exporter train"),
        ("serve", "convscope-server"),
        ("canary", "convscope admin canary"),
    ],
)
def test_a_command_of_another_program_is_named(command: str, other: str) -> None:
    done = run("client", [command])
    assert done.returncode == 64
    assert f"error: there is no command '{command}'; you may mean `{other}`" in done.stderr


@pytest.mark.parametrize("command", [each for each in COMMANDS if each != "web"])
def test_no_message_has_the_text_of_grpc(command: str, tmp_path: Path) -> None:
    image = tmp_path / "x.png"
    image.write_bytes(b"x")
    arguments = [str(image) if each in ("x.png", __file__) else each for each in COMMANDS[command]]
    done = run("client", [command, *arguments, "--server", "127.0.0.1:1"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no server answers at 127.0.0.1:1")
    assert done.stderr.count("\n") == 1
    for words in ("ipv4:", "Failed to connect", "errno", "StatusCode"):
        assert words not in done.stderr


@pytest.mark.parametrize("command", ["models", "health", "bench"])
def test_options_that_contradict_each_other_have_the_names_of_flags(
    command: str, tmp_path: Path
) -> None:
    certificate = tmp_path / "own.pem"
    certificate.write_text("x")
    options = ["--client-certificate", str(certificate)]
    done = run("client", [command, *COMMANDS[command], *options])
    assert done.returncode == 64
    message = " ".join(done.stderr.split())
    assert "--client-certificate and --client-key go together; give both" in message
