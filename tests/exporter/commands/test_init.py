"""`init`: the project that it writes works as it is."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.exporter import run_exporter
from support.server import ServerProcess
from typer.testing import CliRunner

from convscope.exporter.cli import app

FILES = ["README.md", "dataset.py", "network.py"]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def commands(printed: str) -> list[list[str]]:
    """Return the commands that `init` prints, as they would be run."""
    lines = [line for line in printed.splitlines() if line.startswith("  ")]
    found = [shlex.split(line) for line in lines]
    return [[Path(words[0]).name, *words[1:]] for words in found]


def run(words: list[str], project: Path, variables: dict[str, str]) -> str:
    program, *arguments = words
    if program == "convscope-exporter":
        done = run_exporter(*arguments, directory=project)
    else:
        module = ["-m", "convscope"] if program == "convscope" else []
        done = subprocess.run(
            [sys.executable, *module, *arguments],
            cwd=project,
            capture_output=True,
            text=True,
            env={**os.environ, **variables},
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow(seconds=15)
@pytest.mark.one_transport("it is about the commands")
def test_the_commands_that_it_prints_train_serve_and_classify(tmp_path: Path) -> None:
    project = tmp_path / "my project"
    written = CliRunner().invoke(app, ["init", str(project)])
    assert written.exit_code == 0, written.stderr
    assert names(project) == FILES
    enter, prepare, train, serve, enter_again, classify = commands(written.stdout)
    assert enter == enter_again == ["cd", str(project)]
    text = run(prepare, project, {})
    assert text.startswith("dataset.npz has 2400 images of circle, square, triangle\n")
    text = run(train, project, {})
    assert (project / "models/shapes/1/model.onnx").is_file()
    (accuracy,) = re.findall(r"^accuracy +(\S+) on npz:dataset.npz test", text, re.MULTILINE)
    assert float(accuracy) > 0.8
    assert re.search(r"^balanced accuracy  0\.\d+ on npz:dataset.npz test", text, re.MULTILINE)
    assert "stage1" in text
    program, flag, models = serve
    assert (program, flag) == ("convscope-server", "--models")
    with ServerProcess(project / models) as server:
        text = run(classify, project, {"CONVSCOPE_SERVER": server.target})
    assert "circle" in text


def test_without_an_active_environment_the_commands_have_the_paths_of_its_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    printed = CliRunner().invoke(app, ["init", str(tmp_path / "a")]).stdout
    lines = [shlex.split(line) for line in printed.splitlines() if line.startswith("  ")]
    programs = [Path(words[0]) for words in lines if words[0] != "cd"]
    names = ["python", "convscope-exporter", "convscope-server", "convscope"]
    assert programs == [Path(sys.executable).parent / name for name in names]
    assert "if another server uses the ports, add --grpc-address localhost:8011" in printed


def test_the_readme_has_the_commands_that_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{own}{os.pathsep}{os.environ['PATH']}")
    done = CliRunner().invoke(app, ["init", str(tmp_path)])
    readme = (tmp_path / "README.md").read_text().replace("\\\n      ", "")
    _, *lines = (line.strip() for line in done.stdout.split("next:")[1].splitlines())
    shown = [line for line in lines if not line.startswith(("cd ", "then", "if "))]
    assert len(shown) == 4
    assert all(f"$ {line}\n" in readme for line in shown)


def test_it_writes_into_this_directory_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init"])
    assert done.exit_code == 0
    assert names(tmp_path) == FILES
    assert "cd " not in done.stdout


def test_it_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "network.py").write_text("# mine")
    done = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert done.exit_code == 1
    assert f"error: {tmp_path / 'network.py'} exists; nothing was written" in done.stderr
    assert names(tmp_path) == ["network.py"]
    assert (tmp_path / "network.py").read_text() == "# mine"
