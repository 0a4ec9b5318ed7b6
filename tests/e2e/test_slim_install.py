"""The base install contains only the client."""

import subprocess
from pathlib import Path

import pytest
from support.server import ServerProcess
from support.venvs import make_venv, pip_for

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch",
    "torchvision",
    "onnx",
    "onnxruntime",
    "timm",
    "prometheus_client",
    "uvloop",
    "fastapi",
)


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.one_transport("installs the package")
def test_pip_install_gives_a_client_without_torch_or_a_runtime(
    tmp_path: Path, tiny_server: ServerProcess, coffee: Path
) -> None:
    make_venv(tmp_path / "venv")
    scripts = tmp_path / "venv" / "bin"
    run(*pip_for(scripts / "python"), "install", "--quiet", "--no-compile", ROOT)
    run(scripts / "python", "-c", "from convscope.client import Client")
    for module in HEAVY:
        find = f"import importlib.util as u; print(u.find_spec({module!r}))"
        assert run(scripts / "python", "-c", find) == "None\n", module
    answer = run(
        scripts / "convscope", "classify", coffee, "--model", "tiny", "--server", tiny_server.target
    )
    assert "red" in answer
    commands: dict[str, list[str | Path]] = {
        "server": [scripts / "convscope-server", "--models", "m"],
        "exporter": [scripts / "convscope-exporter", "export", "digits"],
        "web": [scripts / "convscope", "web"],
    }
    for extra, command in commands.items():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"pip install '.[{extra}]'" in done.stderr
