"""TensorRT's engines: built in the background, and stored for the next start.

Building an engine takes minutes and is done in a subprocess. Meanwhile the next
provider of the preference serves as the fallback. Then the version is loaded again
and finds the engine. An engine fits one graph, one ONNX Runtime, one TensorRT, one
GPU and one set of options, so its directory is named after all of them.
"""

import ctypes
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import onnxruntime as ort
import structlog

from convscope.server.repository.home import expand_home
from convscope.server.runtime.providers.names import PROVIDERS
from convscope.server.runtime.providers.policy import ProviderPolicy
from convscope.v1 import manifest_pb2 as pb

__all__ = [
    "Engine",
    "EngineCache",
    "Hardware",
    "build_in_subprocess",
    "engine_key",
    "read_hardware",
]

log = structlog.get_logger(__name__)

TENSORRT = "tensorrt"
CUDA = "cuda"
_PATH = "trt_engine_cache_path"
# The library that ONNX Runtime's provider is linked against.
_LIBRARY = "libnvinfer.so.10"
QUERY_SECONDS = 10.0
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Hardware:
    """What an engine depends on besides the graph and the runtime.

    Args:
        tensorrt: TensorRT's version, as its library reports it.
        gpu: The GPU's name and its compute capability.
    """

    tensorrt: str
    gpu: str


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that is built, or pending.

    Args:
        directory: Where it is stored; exists only when the engine is complete.
        build_ended: Set when its build has ended, successfully or not.
    """

    directory: Path
    build_ended: threading.Event = field(default_factory=threading.Event, compare=False)

    @property
    def is_built(self) -> bool:
        """Whether a session can be opened with it now."""
        return self.directory.is_dir()


class EngineCache:
    """Finds engines, and builds missing ones in the background.

    Args:
        root: Where they are stored, unless the options name another directory.
        max_batch: The largest batch that they must accept, in images.
        stopping: Whether the server is stopping; a build is then aborted.
        hardware: Returns the hardware of this machine, given the GPU's number.
        build: Builds the engine of a graph with options; returns whether it succeeded.
    """

    def __init__(
        self,
        root: Path,
        max_batch: int,
        stopping: Callable[[], bool] = lambda: False,
        *,
        hardware: Callable[[str], Hardware] | None = None,
        build: Callable[[bytes, Mapping[str, str]], bool] | None = None,
    ) -> None:
        self._root = root
        self._max_batch = max_batch
        self._hardware = hardware or read_hardware
        self._build = build or partial(build_in_subprocess, stopping=stopping)
        self._building: dict[Path, Engine] = {}

    def select(
        self, policy: ProviderPolicy, graph: bytes, spec: pb.InputSpec
    ) -> tuple[ProviderPolicy, Engine | None]:
        """Return the policy that a version uses now.

        Args:
            policy: The policy of its model.
            graph: Its plain graph.
            spec: The graph's input.

        Returns:
            The policy with TensorRT's options and None; or, until the engine is
            built, the policy without TensorRT and the pending engine.
        """
        available = ort.get_available_providers()
        if TENSORRT not in policy.preference or PROVIDERS[TENSORRT] not in available:
            return policy, None
        options = {**_profile(spec, self._max_batch), **policy.options.get(TENSORRT, {})}
        root = expand_home(Path(options.pop(_PATH, self._root)))
        try:
            hardware = self._hardware(options.get("device_id", "0"))
        except OSError as error:
            log.warning("no TensorRT engine can be stored", reason=str(error))
            return policy.with_options(TENSORRT, options), None
        engine = Engine(root / engine_key(graph, ort.__version__, hardware, options))
        options |= {"trt_engine_cache_enable": "True", _PATH: str(engine.directory)}
        if engine.is_built or policy.wanted != TENSORRT or CUDA not in policy.preference:
            return policy.with_options(TENSORRT, options), None
        return policy.without(TENSORRT), self._start(engine, graph, options)

    def _start(self, engine: Engine, graph: bytes, options: Mapping[str, str]) -> Engine:
        """Build an engine in the background, once; return the pending engine."""
        if (building := self._building.get(engine.directory)) is not None:
            return building
        self._building[engine.directory] = engine
        log.info("building a TensorRT engine; CUDA serves meanwhile", engine=engine.directory.name)

        def build() -> None:
            try:
                built = self._build(graph, options)
            finally:
                del self._building[engine.directory]
                engine.build_ended.set()
            if built:
                log.info("TensorRT engine built", engine=engine.directory.name)
            else:
                log.error("no TensorRT engine was built; CUDA keeps serving")

        threading.Thread(target=build, name="tensorrt-engine").start()
        return engine


def engine_key(graph: bytes, runtime: str, hardware: Hardware, options: Mapping[str, str]) -> str:
    """Return a hash of everything that an engine depends on."""
    parts = (
        hashlib.sha256(graph).hexdigest(),
        runtime,
        hardware.tensorrt,
        hardware.gpu,
        json.dumps(options, sort_keys=True),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_hardware(device: str) -> Hardware:
    """Read the versions and the GPU from TensorRT's library and the driver's own tool.

    Args:
        device: The GPU's number.

    Raises:
        OSError: One of them is missing, or doesn't respond.
    """
    library = ctypes.CDLL(_LIBRARY)
    fields = "--query-gpu=name,compute_cap"
    try:
        query = subprocess.run(
            ["nvidia-smi", f"--id={device}", fields, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=QUERY_SECONDS,
            check=True,
        )
    except subprocess.SubprocessError as error:
        raise OSError(f"nvidia-smi doesn't describe GPU {device}") from error
    return Hardware(str(library.getInferLibVersion()), query.stdout.strip())


def build_in_subprocess(
    graph: bytes, options: Mapping[str, str], stopping: Callable[[], bool] = lambda: False
) -> bool:
    """Build an engine in a subprocess, which is killed if `stopping` becomes true."""
    command = [sys.executable, "-m", "convscope.server.runtime.providers.build_engine"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        data: bytes | None = json.dumps(options).encode() + b"\n" + graph
        while True:
            try:
                process.communicate(data, timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:
                data = None  # `communicate` continues to write what it has begun
                if stopping():
                    process.kill()
                continue
            return process.returncode == 0


def _profile(spec: pb.InputSpec, max_batch: int) -> dict[str, str]:
    """Return the options for an engine's batch sizes; any other would rebuild it in a request."""

    def shape(batch: int) -> str:
        return f"{spec.name}:{'x'.join(map(str, (batch, *spec.shape)))}"

    return {
        "trt_profile_min_shapes": shape(1),
        "trt_profile_opt_shapes": shape(max(1, max_batch // 2)),
        "trt_profile_max_shapes": shape(max_batch),
    }
