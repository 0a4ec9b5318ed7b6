"""Triton with its Python backend, from the wheel of nvidia-pytriton."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.parsing import parse_metrics
from bench.peers.base import APPS, TOP, WORKS, Peer, Running, Work, environment
from bench.peers.oip import infer_message, infer_request, infer_top, is_ready
from bench.processes import free_port, running, wait_for
from bench.reference import cores

__all__ = ["TRITON"]

START_SECONDS = 90.0
_WHERE = (
    "import json, sys, sysconfig, pytriton; print(json.dumps([pytriton.__path__[0], "
    "sysconfig.get_config_var('LIBDIR'), '%d.%d' % sys.version_info[:2]]))"
)
# EfficientNet-Lite0 is fastest with single images, a tiny network with batches.
_TINY_BATCH = 32
_CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: {batch}
input [{{ name: "input" data_type: TYPE_UINT8 dims: {dims} }}]
output [
  {{ name: "classes" data_type: TYPE_INT64 dims: [{top}] }},
  {{ name: "probabilities" data_type: TYPE_FP32 dims: [{top}] }}
]
instance_group [{{ kind: KIND_CPU count: {count} }}]
{batching}
"""


@contextmanager
def start(python: Path, directory: Path) -> Iterator[Running]:
    """Run tritonserver on a plain model repository."""
    asked = subprocess.run([python, "-c", _WHERE], capture_output=True, text=True, check=True)
    package, libraries, version = json.loads(asked.stdout.splitlines()[-1])
    program = Path(package) / "tritonserver"
    backends = directory / "backends" / "python"
    _lay_out_backend(program, version, backends)
    repository = directory / "models"
    for work in WORKS.values():
        _write_model(repository, work)
    ports = {kind: free_port() for kind in ("grpc", "metrics")}
    command = [
        *(str(program / "bin" / "tritonserver"), "--model-repository", str(repository)),
        *("--backend-directory", str(backends.parent), "--allow-http", "false"),
        *("--grpc-address", "127.0.0.1", "--grpc-port", str(ports["grpc"])),
        *("--metrics-address", "127.0.0.1", "--metrics-port", str(ports["metrics"])),
        *("--allow-gpu-metrics", "false", "--log-info", "false"),
    ]
    own_libraries = Path(package).parent / "nvidia_pytriton.libs"
    variables = {
        **environment(),
        "LD_LIBRARY_PATH": f"{libraries}:{own_libraries}",
        # CPython, embedded in the backend, finds its environment through the first python3 here.
        "PATH": f"{python.parent}:{os.environ['PATH']}",
    }
    target = f"127.0.0.1:{ports['grpc']}"
    with running(command, env=variables) as process:
        wait_for(process, "Triton", lambda: is_ready(target), seconds=START_SECONDS, step=0.2)
        yield Running(
            lambda work: infer_request(target, _message(work)),
            lambda work: infer_top(target, _message(work)),
            [process.pid],
            partial(_successes, ports["metrics"]),
        )


def _message(work: Work) -> bytes:
    return infer_message(work, batched=work.name == "tiny")


def _lay_out_backend(program: Path, version: str, directory: Path) -> None:
    """Link the backend and the stub for the models' version of Python into one directory."""
    directory.mkdir(parents=True)
    stub = program / "python_backend_stubs" / version / "triton_python_backend_stub"
    for file in (*(program / "backends" / "python").glob("*.*"), stub):
        (directory / file.name).symlink_to(file)


def _write_model(repository: Path, work: Work) -> None:
    model = repository / work.name
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").symlink_to(APPS / "triton_model.py")
    tiny = work.name == "tiny"
    text = _CONFIG.format(
        name=work.name,
        batch=_TINY_BATCH if tiny else 0,
        dims=list(work.shape) or [-1],  # a file, as in Triton's preprocessing example
        top=TOP,
        count=cores(),
        batching="dynamic_batching { }" if tiny else "",
    )
    (model / "config.pbtxt").write_text(text)


def _successes(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        samples = parse_metrics(reply.read().decode())
    return sum(v for (name, _), v in samples.items() if name == "nv_inference_request_success")


TRITON = Peer(
    "triton",
    "nvidia-pytriton",
    "gRPC, Open Inference Protocol, raw contents",
    "Python backend, one instance per core with one thread, dynamic batching for tiny",
    start,
)
