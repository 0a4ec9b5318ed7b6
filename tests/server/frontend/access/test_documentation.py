"""The policies in the documentation, and the command that makes tokens."""

import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from support.access import bearer
from support.calls import connected, image_request, rejection
from support.server import FRESH, ServerProcess
from support.tiny import write_tiny

from convscope.server.frontend.access.credentials import hash_token, make_token
from convscope.server.frontend.access.policy_file import read_policy
from convscope.v1 import inference_pb2 as pb

DOCUMENT = Path(__file__).parents[4] / "docs" / "operations" / "access.md"


def examples() -> list[str]:
    section = DOCUMENT.read_text().split("## Access control\n")[1].split("\n## ")[0]
    return re.findall(r"```toml\n(.*?)```", section, re.DOTALL)


def test_the_documented_policy_serves(tmp_path: Path) -> None:
    made = subprocess.run([*FRESH, "token"], capture_output=True, text=True, check=True, timeout=60)
    _, token, _, line = made.stdout.splitlines()
    assert line == f'tokens = ["{hash_token(token)}"]'
    example = examples()[0]
    assert len(example.splitlines()) <= 10
    placeholder = 'tokens = ["sha256:…"]'
    policy = tmp_path / "policy.toml"
    other = f'tokens = ["{hash_token(make_token())}"]'
    policy.write_text(example.replace(placeholder, line, 1).replace(placeholder, other))
    models = tmp_path / "models"
    write_tiny(models, "digits")
    write_tiny(models, "secret")
    with ServerProcess(models, "--policy", str(policy)) as server, connected(server) as stub:
        metadata = bearer(token)
        assert (
            stub.Classify(image_request(model="digits"), timeout=30, metadata=metadata).model
            == "digits"
        )
        listed = stub.ListModels(pb.ListModelsRequest(), timeout=30, metadata=metadata)
        assert [one.model for one in listed.models] == ["digits"]
        code, _ = rejection(stub.Classify, image_request(model="secret"), metadata=metadata)
        assert code is grpc.StatusCode.PERMISSION_DENIED
        code, _ = rejection(stub.Classify, image_request(model="digits"))
        assert code is grpc.StatusCode.UNAUTHENTICATED


def test_the_documented_table_of_json_web_tokens(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(examples()[1])
    policy = read_policy(path)
    assert policy.jwt is not None
    assert policy.jwt.is_remote
    assert [caller.name for caller in policy.callers] == ["robot"]


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("more", 64)])
def test_the_command_takes_no_arguments(argument: str, code: int) -> None:
    command = [sys.executable, "-m", "convscope.server", "token", argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code
    assert "Usage: convscope-server token" in done.stdout + done.stderr
    assert "cvs_" not in done.stdout
