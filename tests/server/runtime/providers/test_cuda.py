"""Why CUDA or TensorRT doesn't start, for every cause."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from convscope.server.runtime.providers.cuda import Driver, explain

MODERN = Driver("13.1", gpus=1)
# Drivers that answer as NVIDIA's would: its version as 1000 * major + 10 * minor, and its GPUs.
DRIVER = """
int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}
int cuInit(unsigned flags) {{ return {error}; }}
int cuDeviceGetCount(int *count) {{ *count = {gpus}; return 0; }}
"""
READ = "from convscope.server.runtime.providers.cuda import read_driver; print(read_driver())"


def explained(
    provider: str = "cuda",
    driver: Driver | None = MODERN,
    visible: str | None = None,
    missing: str | None = None,
) -> str:
    return explain(
        provider, driver=driver, needed="13.0", visible=visible, missing=lambda _: missing
    )


@pytest.mark.parametrize(
    ("found", "cause", "repair"),
    [
        ({"driver": None}, "no NVIDIA driver (libcuda.so.1 is missing)", "install one"),
        ({"driver": Driver("12.8", 1)}, "supports CUDA up to 12.8", "needs CUDA 13.0; update"),
        ({"driver": Driver("9.2", 1)}, "supports CUDA up to 9.2", "update the driver"),
        ({"driver": Driver("13.1", 0)}, "shows no GPU to this process;", "check nvidia-smi"),
        (
            {"driver": Driver("13.1", 0), "visible": ""},
            "shows no GPU to this process, and CUDA_VISIBLE_DEVICES is ''",
            "--gpus all",
        ),
        (
            {"missing": "libcublasLt.so.13: cannot open shared object file"},
            "can't be loaded (libcublasLt.so.13: cannot open",
            "run: pip install '.[server-gpu]', which installs CUDA 13.0 and cuDNN",
        ),
        (
            {"provider": "tensorrt", "missing": "libnvinfer.so.10: cannot open"},
            "can't be loaded (libnvinfer.so.10",
            "pip install 'tensorrt<11'",
        ),
        (
            {"provider": "tensorrt", "missing": "libcublas.so.13: cannot open"},
            "can't be loaded (libcublas.so.13",
            "pip install '.[server-gpu]'",
        ),
        ({}, "1 GPU(s) were found", "options of [providers.cuda]"),
    ],
)
def test_each_cause_is_named_with_its_repair(
    found: dict[str, object], cause: str, repair: str
) -> None:
    message = explained(**found)  # type: ignore[arg-type]
    assert cause in message
    assert repair in message


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize(
    ("answers", "read"),
    [
        ({"version": 13010, "error": 0, "gpus": 2}, Driver("13.1", 2)),
        ({"version": 12080, "error": 0, "gpus": 1}, Driver("12.8", 1)),
        ({"version": 13000, "error": 100, "gpus": 9}, Driver("13.0", 0)),
    ],
)
def test_the_driver_is_read_from_its_library(
    answers: dict[str, int], read: Driver, tmp_path: Path
) -> None:
    (tmp_path / "driver.c").write_text(DRIVER.format(**answers))
    command = ["cc", "-shared", "-fPIC", "-o", "libcuda.so.1", "driver.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    printed = subprocess.run(
        [sys.executable, "-c", READ],
        env={"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.strip() == str(read)
