"""The images, built without Docker from the same files and commands."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from packaging.utils import canonicalize_name
from support.server import ServerProcess
from support.web_process import WebProcess

from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc
from deploy.dockerfile import VENV, Builder, Dockerfile, Image, UnknownStepError, read_image
from deploy.supply_chain.environments import pin_file
from deploy.supply_chain.sbom import describe


@pytest.fixture(scope="module")
def image(dockerfile: Dockerfile) -> Image:
    return read_image(dockerfile.steps("server"))


@dataclass(frozen=True)
class Container:
    """A server that runs as in its container, but without a container."""

    server: ServerProcess
    environment: tuple[str, ...]
    home: Path
    python: Path

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command next to the server, as `docker exec` does."""
        return subprocess.run(
            ["env", "-i", *self.environment, *command],
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def container(
    root: Path,
    dockerfile: Dockerfile,
    image: Image,
    tiny_repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Container]:
    builder = Builder(root, tmp_path_factory.mktemp("image"))
    builder.build(dockerfile.steps(image.builder))
    home = tmp_path_factory.mktemp("home")
    environment = tuple(
        f"{name}={value.replace(VENV, str(builder.venv))}"
        for name, value in {"HOME": str(home), **image.environment}.items()
    )
    command = substitute(
        [*image.entrypoint, *image.command],
        {
            "/models": str(tiny_repository),
            "0.0.0.0:8001": "127.0.0.1:0",
            "0.0.0.0:8002": "127.0.0.1:0",
        },
    )
    started = ("env", "-i", *environment, *command)
    with ServerProcess(tiny_repository, command=started) as server:
        yield Container(server, environment, home, builder.venv / "bin/python")


def substitute(command: list[str], values: dict[str, str]) -> list[str]:
    """Replace words of a command. Each must occur exactly once."""
    assert [command.count(word) for word in values] == [1] * len(values), command
    return [values.get(word, word) for word in command]


@pytest.mark.slow(seconds=60)
@pytest.mark.one_transport("installs the package")
@pytest.mark.timeout(900)
def test_the_built_server_is_healthy_classifies_and_stops_cleanly(
    image: Image, container: Container, root: Path
) -> None:
    target = container.server.target
    health = substitute(image.health_command, {"127.0.0.1:8001": target})
    checked = container.run(*health)
    assert (checked.returncode, checked.stdout) == (0, "SERVING\n")

    photo = (root / "tests/data/coffee.png").read_bytes()
    request = pb.ClassifyRequest(model="tiny", inputs=[pb.Input(encoded_image=photo)])
    with grpc.insecure_channel(target) as channel:
        reply = inference_pb2_grpc.ClassifierServiceStub(channel).Classify(request, timeout=30)
    assert len(reply.results[0].prediction.classes) == 3

    missing = container.run("python", "-c", "import torch")
    assert "No module named 'torch'" in missing.stderr

    assert image.stop_signal == "SIGTERM"
    assert container.server.stop() == 0
    unhealthy = container.run(*health)
    assert unhealthy.returncode == 1
    assert "UNAVAILABLE" in unhealthy.stdout

    # ONNX Runtime's telemetry would leave a file here.
    assert list(container.home.iterdir()) == []


@pytest.mark.slow(seconds=20)
@pytest.mark.one_transport("lists packages")
def test_the_sbom_lists_the_pinned_packages(container: Container, tmp_path: Path) -> None:
    describe(container.python, tmp_path / "server.cdx.json")
    content = json.loads((tmp_path / "server.cdx.json").read_text())
    assert (content["bomFormat"], content["metadata"]["component"]["name"]) == (
        "CycloneDX",
        "convscope",
    )
    listed = {f"{canonicalize_name(c['name'])}=={c['version']}" for c in content["components"]}
    pinned = re.findall(r"^\S+==\S+", pin_file("server").read_text(), re.MULTILINE)
    # What the base image's Python adds to each environment.
    assert {one for one in listed if not one.startswith(("pip==", "setuptools=="))} == {*pinned}


def test_the_server_runs_as_a_numbered_user_on_the_stated_ports(
    dockerfile: Dockerfile, image: Image
) -> None:
    assert image.user == "10001"
    assert image.ports == ["8001", "8002"]
    assert dockerfile.image("server") == dockerfile.image(image.builder) == "python:3.11-slim"


def test_the_gpu_image_differs_in_its_environment_only(
    dockerfile: Dockerfile, image: Image
) -> None:
    on_gpu = read_image(dockerfile.steps("server-gpu"))
    assert (on_gpu.entrypoint, on_gpu.user) == (image.entrypoint, image.user)
    assert (on_gpu.ports, on_gpu.health_command) == (image.ports, image.health_command)
    assert on_gpu.environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    installed = dockerfile.steps(on_gpu.builder)[-3].text
    assert installed.endswith("--requirement deploy/requirements/server-gpu.txt")
    pinned = pin_file("server-gpu").read_text()
    assert "\nonnxruntime-gpu==" in pinned
    assert "\nnvidia-cudnn-cu13==" in pinned


def test_the_exporter_takes_its_own_environment(dockerfile: Dockerfile) -> None:
    exporter = read_image(dockerfile.steps("exporter"))
    assert exporter.user == "10001"
    assert exporter.entrypoint == ["convscope-exporter"]
    install = dockerfile.steps(exporter.builder)[-1]
    assert install.text.endswith("/opt/venv/bin/python -m pip install '.[exporter]'")


@pytest.mark.slow(seconds=35)
@pytest.mark.one_transport("installs the package")
@pytest.mark.timeout(900)
def test_the_built_web_app_is_healthy_and_stops_cleanly(
    root: Path, dockerfile: Dockerfile, tmp_path: Path
) -> None:
    image = read_image(dockerfile.steps("web"))
    builder = Builder(root, tmp_path / "image")
    builder.build(dockerfile.steps(image.builder))
    environment = [
        f"{name}={value.replace(VENV, str(builder.venv))}"
        for name, value in image.environment.items()
    ]
    home = tmp_path / "home"
    home.mkdir()
    prefix = ["env", "-i", *environment, f"HOME={home}"]
    arguments = [*image.entrypoint, *image.command]
    command = substitute(arguments, {"0.0.0.0:8080": "127.0.0.1:0", "server:8001": "127.0.0.1:1"})
    # Without the default extras of the tests, and with no server at all.
    with WebProcess("127.0.0.1:1", command=[*prefix, *command]) as web:
        health = substitute(image.health_command, {"127.0.0.1:8080": f"127.0.0.1:{web.port}"})
        checked = subprocess.run([*prefix, *health], capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stdout) == (0, '{"status":"ok"}\n')
        assert web.get("/docs/swagger-ui.css").status == 200
        assert web.get("/").status == 200
        assert web.get("/readyz").status == 503
        assert image.stop_signal == "SIGTERM"
        assert web.stop() == 0
    missing = [*prefix, "python", "-c", "import onnxruntime"]
    assert subprocess.run(missing, capture_output=True, check=False).returncode == 1
    assert image.user == "10001"


def test_only_sources_reach_the_builder(dockerfile: Dockerfile, tmp_path: Path) -> None:
    context = tmp_path / "context"
    root = Path(__file__).resolve().parents[2]
    for name in ("server/a.py", "server/__pycache__/a.pyc", "server/deep/b.pyc", "README.md"):
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (context / ".dockerignore").write_text((root / ".dockerignore").read_text())
    (tmp_path / "Dockerfile").write_text(
        "FROM scratch AS builder\nWORKDIR /src\nCOPY README.md ./\nCOPY server/ server/\n"
    )
    builder = Builder(context, tmp_path / "image")
    builder.build(Dockerfile(tmp_path / "Dockerfile").steps("builder"))
    copied = sorted(
        os.path.relpath(path, tmp_path / "image/src")
        for path in (tmp_path / "image").rglob("*")
        if path.is_file()
    )
    assert copied == ["README.md", "server/a.py"]


@pytest.mark.parametrize(
    "step",
    [
        "RUN apt-get install --yes curl",
        "RUN /opt/venv/bin/python -m pip install . && touch /done",
        "RUN --network=none python -m venv /opt/venv",
        "ADD server/ server/",
        "COPY --link server/ server/",
        "COPY server/ /elsewhere",
        "ENV HERE=$HOME",
        "ARG VERSION",
        'SHELL ["/bin/bash", "-c"]',
    ],
)
def test_an_unsupported_builder_step_is_an_error(tmp_path: Path, step: str) -> None:
    (tmp_path / ".dockerignore").write_text("")
    (tmp_path / "Dockerfile").write_text(f"FROM scratch AS builder\n{step}\n")
    with pytest.raises(UnknownStepError, match=r"^[A-Z]+ "):
        Builder(tmp_path, tmp_path).build(Dockerfile(tmp_path / "Dockerfile").steps("builder"))


@pytest.mark.parametrize(
    "step",
    [
        "RUN pip install torch",
        "RUN useradd a && pip install torch",
        "COPY --from=other /usr /usr",
        "COPY server/ /srv",
        "VOLUME /models",
        "ONBUILD RUN true",
    ],
)
def test_an_unsupported_final_step_is_an_error(tmp_path: Path, step: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM scratch AS final\n{step}\n")
    with pytest.raises(UnknownStepError, match=r"^[A-Z]+ "):
        read_image(Dockerfile(tmp_path / "Dockerfile").steps("final"))
