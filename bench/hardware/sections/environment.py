"""The machine, the driver, the execution providers and the versions."""

import os
import sys
from importlib import metadata

import onnxruntime as ort

from bench.hardware.check import Check, Results
from bench.hardware.gpu import read_gpus
from bench.machine import describe
from convscope.server.runtime.providers import PROVIDERS
from convscope.server.runtime.providers.cuda import read_driver

__all__ = ["run"]

# Parts of the names of packages whose versions matter on a GPU.
_PACKAGES = ("onnxruntime", "nvidia-", "tensorrt", "torch", "timm", "onnxconverter")


def run(check: Check, results: Results) -> None:
    """Describe them, and report whether the provider is available."""
    results.update(describe())
    driver = read_driver()
    results["driver"] = driver and {"cuda": driver.cuda, "gpus": driver.gpus}
    results["gpus"] = read_gpus()
    results["cuda_visible_devices"] = os.environ.get("CUDA_VISIBLE_DEVICES")
    results["onnxruntime"] = {
        "version": ort.__version__,
        "build": ort.get_build_info(),
        "cuda": str(getattr(ort, "cuda_version", "")),
        "available_providers": ort.get_available_providers(),
    }
    results["python"] = sys.version
    results["packages"] = {
        name: each.version
        for each in metadata.distributions()
        if (name := each.metadata["Name"] or "").lower().startswith(_PACKAGES)
    }
    if PROVIDERS[check.provider] not in ort.get_available_providers():
        results["problems"] = [f"this ONNX Runtime was built without {check.provider}"]
