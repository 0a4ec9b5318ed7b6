"""`convscope health`, as a probe runs it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority
from support.forked import run as run_forked
from support.server import ServerProcess


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CONVSCOPE_")}
    return run_forked("client", ["health", *arguments], environment | variables)


def test_serving_server(tiny_server: ServerProcess) -> None:
    done = run("--server", tiny_server.target)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"{tiny_server.target} is serving\n",
        "",
    )
    done = run("--model", "tiny", "--json", CONVSCOPE_SERVER=tiny_server.target)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "server": tiny_server.target,
        "model": "tiny",
        "status": "SERVING",
        "message": "",
    }


def test_unknown_model_is_not_serving(tiny_server: ServerProcess) -> None:
    done = run("--server", tiny_server.target, "--model", "missing")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {tiny_server.target} has no model 'missing' that is loaded; "
        f"`convscope models --server {tiny_server.target}` lists the loaded ones\n"
    )


def test_server_that_is_not_there() -> None:
    done = run("--server", "127.0.0.1:1", "--wait", "0.5")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no server answers at 127.0.0.1:1 (")
    status = json.loads(run("--server", "127.0.0.1:1", "--json").stdout)
    assert (status["status"], status["message"][:16]) == ("UNAVAILABLE", "no server answer")


def test_wait_lasts_until_the_server_is_serving(tiny_repository: Path) -> None:
    target = f"127.0.0.1:{_free_port()}"
    command = [sys.executable, "-m", "convscope", "health", "--server", target, "--wait", "60"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting,
        ServerProcess(tiny_repository, "--grpc-address", target),
    ):
        assert waiting.wait(60) == 0


def test_proxy_of_the_environment_is_bypassed(tiny_server: ServerProcess) -> None:
    proxies = {"http_proxy": "http://127.0.0.1:9", "grpc_proxy": "http://127.0.0.1:9"}
    assert run("--server", tiny_server.target, **proxies).returncode == 0
    # gRPC never uses a proxy for a loopback address of ours, but for a host name it would.
    done = run("--server", "server.invalid:8001", **proxies)
    assert "proxy" not in done.stderr


def test_tls_mistake_is_explained(tiny_repository: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    flags = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with ServerProcess(tiny_repository, *flags) as server:
        done = run("--server", server.target)
        assert done.returncode == 1
        assert f"error: {server.target} uses TLS, and this client doesn't" in done.stderr
        roots = ("--root-certificates", str(authority.certificate))
        assert run("--server", server.target, *roots).returncode == 0


def test_token_is_sent_where_health_is_for_callers_only(
    tiny_repository: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    made = subprocess.run(
        [sys.executable, "-m", "convscope.server", "token"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    token, line = made[1], made[3]
    policy.write_text(f'health = "callers"\n[callers.probe]\n{line}\nrpcs = ["health"]\n')
    with ServerProcess(tiny_repository, "--policy", str(policy)) as server:
        assert run("--server", server.target).returncode == 1
        assert run("--server", server.target, CONVSCOPE_TOKEN=token).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--server", "here"), "'here' is not an address; give HOST:PORT"),
        (
            ("--server", "localhost:"),
            "'localhost:' is not an address; give HOST:PORT",
        ),
        (("--server", "localhost:99999"), "'99999' is not a number from 1 to 65535"),
        (("--server", "[::1]"), "such as [::1]:8001 (the port is missing)"),
        (("--wait", "soon"), "--wait: 'soon' is not a number"),
        (("--colour",), "there is no option --colour"),
        (("--root-certificates", "/nonexistent"), "does not exist"),
    ],
)
def test_mistakes_are_usage_errors(arguments: Any, message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 64
    assert message in " ".join(done.stderr.split())


def test_probe_imports_nothing_that_it_does_not_need(tiny_server: ServerProcess) -> None:
    script = (
        "import sys; from convscope import _health; "
        "code = _health.main(sys.argv[1:]); print(code, sorted(set(sys.modules) & "
        "{'numpy', 'PIL', 'typer', 'rich', 'google.protobuf', 'convscope.client'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--server", tiny_server.target],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
