"""The options of OpenVINO: those that are set, and those that follow from how a model is run."""

import json
from collections.abc import Mapping
from typing import Any

from convscope.server.errors import BundleRejectedError

__all__ = ["named_precision", "names_precision", "openvino_options", "takes_hint"]

# The largest number of streams that it accepts.
MAX_STREAMS = 8
HINT = "INFERENCE_PRECISION_HINT"
# The devices that are given it. Others, such as an NPU or several at once, choose for themselves.
_HINTED = ("CPU", "GPU")
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_PRECISIONS = {hint: precision for precision, hint in _HINTS.items()}
# Its own default pins the threads of each process to the same cores: two processes with a thread
# each then run at half of their speed.
_PINNING = "ENABLE_CPU_PINNING"


def names_precision(options: Mapping[str, str]) -> bool:
    """Report whether the options that an operator has set name a precision.

    Raises:
        BundleRejectedError: `load_config` can't be read.
    """
    devices = _load_config(options).values()
    return "precision" in options or any(HINT in of_device for of_device in devices)


def named_precision(options: Mapping[str, str]) -> str | None:
    """Return the precision that the operator's `load_config` names; None without one.

    Raises:
        BundleRejectedError: It is unknown. OpenVINO would ignore it without an error.
    """
    hint = _load_config(options).get(_device(options), {}).get(HINT)
    if hint is None:
        return None
    if str(hint) not in _PRECISIONS:
        raise BundleRejectedError(
            "provider",
            f"{HINT} of [providers.openvino]: {str(hint)[:40]} is no precision; use f32, bf16 or "
            "f16",
        )
    return _PRECISIONS[str(hint)]


def takes_hint(options: Mapping[str, str]) -> bool:
    """Report whether the device that an operator has set is told in which precision to compute."""
    return _device(options) in _HINTED


def openvino_options(
    options: Mapping[str, str], precision: str, cores: int, threads: int
) -> dict[str, str]:
    """Return the options of a session.

    Args:
        options: What the operator has set, which overrides the rest.
        precision: "fp32", "bf16" or "fp16"; "auto" for what the graph states.
        cores: The cores that all runs share.
        threads: The threads of one run.

    Raises:
        BundleRejectedError: `load_config` can't be read, names another precision, or the device
            can't be told one.
    """
    device = _device(options)
    config: dict[str, Any] = {}
    if names_precision(options):
        if precision != "auto":
            raise BundleRejectedError(
                "provider",
                f"--precision is {precision}, and [providers.openvino] has a precision of its "
                "own; remove one of them",
            )
    elif device in _HINTED:
        # Without it, a GPU computes in fp16, and a CPU with AMX may in bf16.
        config[HINT] = _HINTS.get(precision, "f32")
    elif precision != "auto":
        raise BundleRejectedError(
            "provider",
            f"--precision {precision} needs OpenVINO's device CPU or GPU, and device_type of "
            f"[providers.openvino] is {device[:40]}; remove one of them",
        )
    if device != "CPU":
        return {**options, **_config(options, device, config)}
    # It has its own threads, divided between streams; each stream runs one batch at a time.
    streams = min(MAX_STREAMS, max(1, cores // threads))
    split = {"num_of_threads": str(streams * threads), "num_streams": str(streams)}
    return {**split, **options, **_config(options, device, {_PINNING: "NO", **config})}


def _device(options: Mapping[str, str]) -> str:
    return options.get("device_type", "CPU").partition(".")[0]


def _config(
    options: Mapping[str, str], device: str, properties: Mapping[str, str]
) -> dict[str, str]:
    """Return `load_config` with more properties of a device, if it has any."""
    devices = _load_config(options)
    merged = {**properties, **devices.get(device, {})}
    if not merged:
        return {}
    return {"load_config": json.dumps({**devices, device: merged})}


def _load_config(options: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    text = options.get("load_config", "{}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not all(isinstance(one, dict) for one in content.values()):
        raise BundleRejectedError(
            "provider",
            'load_config of [providers.openvino] must be JSON by device, such as {"CPU": '
            f'{{"{HINT}": "bf16"}}}}',
        )
    return content
