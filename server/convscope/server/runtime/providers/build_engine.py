"""Builds one TensorRT engine, for another process.

    python -m convscope.server.runtime.providers.build_engine

reads TensorRT's options as a line of JSON, and then the graph, from standard
input. The engine appears under its path in one step, and only when it is complete.
"""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import onnxruntime as ort

from convscope.server.runtime.providers.names import PROVIDERS

__all__ = ["build_engine", "main"]

PATH = "trt_engine_cache_path"
# Who waits for an answer goes first.
NICENESS = 10

OpenSession = Callable[..., ort.InferenceSession]


def build_engine(
    graph: bytes, options: Mapping[str, str], open_session: OpenSession = ort.InferenceSession
) -> None:
    """Build the engine, unless another process does or did.

    Args:
        graph: The ONNX file.
        options: TensorRT's; the engine is to lie in the directory `trt_engine_cache_path`.
        open_session: Opens a session, which makes TensorRT build and keep the engine.

    Raises:
        RuntimeError: TensorRT doesn't start here.
    """
    directory = Path(options[PATH])
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.exists():
            return
        unfinished = Path(mkdtemp(dir=directory.parent, prefix=f"{directory.name}.partial-"))
        try:
            provider = (PROVIDERS["tensorrt"], {**options, PATH: str(unfinished)})
            session = open_session(graph, providers=[provider], enable_fallback=0)
            if PROVIDERS["tensorrt"] not in session.get_providers():
                raise RuntimeError("TensorRT doesn't start here")
            # The first run has the engine, were it not kept at the opening.
            (spec,) = session.get_inputs()
            dtype = np.uint8 if spec.type == "tensor(uint8)" else np.float32
            session.run(None, {spec.name: np.zeros((1, *spec.shape[1:]), dtype)})
            unfinished.rename(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def main() -> None:
    """Build one engine for another process."""
    os.nice(NICENESS)
    options = json.loads(sys.stdin.buffer.readline())
    build_engine(sys.stdin.buffer.read(), options)


if __name__ == "__main__":
    main()
