"""The libraries of CUDA and TensorRT that pip installed, and why a GPU can't be used.

onnxruntime-gpu looks for libraries where the system keeps them. pip installs them elsewhere, and
onnxruntime.preload_dlls() loads them from there:
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
"""

import contextlib
import ctypes
import importlib.util
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnxruntime as ort

__all__ = ["Driver", "explain", "load_libraries", "read_driver", "why_not_started"]

# Each of them needs the libraries of its provider, so the dynamic linker names a missing one.
_PROVIDER_LIBRARIES = {
    "cuda": "libonnxruntime_providers_cuda.so",
    "tensorrt": "libonnxruntime_providers_tensorrt.so",
}
_DRIVER = "libcuda.so.1"
# In the order of their dependencies, in the package tensorrt_libs.
_TENSORRT = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")


@dataclass(frozen=True, slots=True)
class Driver:
    """What NVIDIA's driver offers.

    Args:
        cuda: The newest CUDA that it supports, such as "13.0".
        gpus: How many GPUs it shows to this process.
    """

    cuda: str
    gpus: int


@cache
def load_libraries() -> None:
    """Load the libraries that pip installed, once. Missing ones are found out when CUDA starts."""
    with contextlib.redirect_stdout(io.StringIO()):  # where it reports missing ones
        ort.preload_dlls()
    package = importlib.util.find_spec("tensorrt_libs")
    for directory in (package and package.submodule_search_locations) or ():
        for name in _TENSORRT:
            with contextlib.suppress(OSError):
                ctypes.CDLL(str(Path(directory, name)))


def why_not_started(provider: str) -> str:
    """Explain why "cuda" or "tensorrt" doesn't start, and what repairs it."""
    return explain(
        provider,
        driver=read_driver(),
        needed=str(getattr(ort, "cuda_version", "")),
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        missing=_missing_library,
    )


def explain(
    provider: str,
    *,
    driver: Driver | None,
    needed: str,
    visible: str | None,
    missing: Callable[[str], str | None],
) -> str:
    """Return the explanation for what was found.

    Args:
        provider: "cuda" or "tensorrt".
        driver: The driver; None without one.
        needed: The CUDA that onnxruntime-gpu was built with, such as "13.0"; empty if unknown.
        visible: CUDA_VISIBLE_DEVICES, if it is set.
        missing: Returns the dynamic linker's message for a provider, if it can't load a library.
    """
    if driver is None:
        return (
            f"this machine has no NVIDIA driver ({_DRIVER} is missing); install one, and start "
            "a container with --gpus all"
        )
    if needed and _major(driver.cuda) < _major(needed):
        return (
            f"the driver supports CUDA up to {driver.cuda}, and this onnxruntime-gpu needs CUDA "
            f"{needed}; update the driver, or install an onnxruntime-gpu for CUDA {driver.cuda}"
        )
    if not driver.gpus:
        hidden = f", and CUDA_VISIBLE_DEVICES is {visible!r}" if visible is not None else ""
        return (
            f"the driver shows no GPU to this process{hidden}; check nvidia-smi, and start a "
            "container with --gpus all"
        )
    if (problem := missing(provider)) is not None:
        return f"a library can't be loaded ({problem}); {_install(problem, needed)}"
    return (
        f"the driver, CUDA's libraries and {driver.gpus} GPU(s) were found; check the options of "
        f"[providers.{provider}] and the memory that is free on the GPU"
    )


def read_driver() -> Driver | None:
    """Read what the driver offers, or return None without a driver."""
    try:
        library = ctypes.CDLL(_DRIVER)
    except OSError:
        return None
    version, gpus = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    if library.cuInit(0) == 0:
        library.cuDeviceGetCount(ctypes.byref(gpus))
    major, minor = divmod(version.value, 1000)
    return Driver(f"{major}.{minor // 10}", gpus.value)


def _missing_library(provider: str) -> str | None:
    load_libraries()
    directory = Path(ort.__file__).parent / "capi"
    try:
        ctypes.CDLL(str(directory / _PROVIDER_LIBRARIES[provider]))
    except OSError as error:
        return str(error).replace(f"{directory}/", "")
    return None


def _install(problem: str, needed: str) -> str:
    if problem.startswith(("libnvinfer", "libnvonnxparser")):
        return "install TensorRT 10, for example with: pip install 'tensorrt<11'"
    cuda = f"CUDA {needed} and cuDNN" if needed else "CUDA and cuDNN"
    return f"in a clone of the repository, run: pip install '.[server-gpu]', which installs {cuda}"


def _major(version: str) -> int:
    return int(version.split(".")[0])
