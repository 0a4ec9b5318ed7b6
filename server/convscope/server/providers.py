"""Execution providers: which are to be had, with which options, and what was really used."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnxruntime as ort

from convscope.server.errors import BundleRefusedError

__all__ = ["PROVIDERS", "ProviderPolicy", "open_session", "provider_in_use"]

# Our short names, and ONNX Runtime's.
PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_INSTALL = {
    "cuda": "install convscope[server-gpu] and the CUDA libraries",
    "tensorrt": "install convscope[server-gpu] and TensorRT",
    "openvino": "install onnxruntime-openvino in place of onnxruntime",
}
_SHORT = {long: short for short, long in PROVIDERS.items()}


@dataclass(frozen=True, slots=True)
class ProviderPolicy:
    """What a session may run on.

    Args:
        preference: Short names, the preferred first.
        allow_fallback: Whether a later one, or the CPU, may stand in for the
            first without being asked for.
    """

    preference: Sequence[str]
    allow_fallback: bool


def open_session(graph: bytes, policy: ProviderPolicy, threads: int) -> ort.InferenceSession:
    """Open a session on the preferred provider that is to be had.

    Args:
        graph: The ONNX file.
        policy: What it may run on.
        threads: Threads of one run on the CPU.

    Raises:
        BundleRefusedError: None of them is, or the preferred one can't run the
            whole graph, and the policy is strict.
    """
    wanted = _available(policy)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads may spin for their next operator as long as a run lasts, and no longer: idle
    # ones would take the cores from decoding and from the event loop.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    strict = not policy.allow_fallback
    if strict and wanted[0] != PROVIDERS["cpu"]:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(graph, options, providers=wanted)
    except Exception as error:
        raise BundleRefusedError(
            "provider", f"{_SHORT[wanted[0]]} can't run the graph: {_first_line(error)}"
        ) from error
    session.disable_fallback()
    used = session.get_providers()[0]
    if strict and used != wanted[0]:
        raise BundleRefusedError(
            "provider",
            f"{_SHORT[wanted[0]]} was asked for and {_SHORT.get(used, used)} was given; "
            "mend the provider, or allow the fallback",
        )
    return session


def provider_in_use(session: ort.InferenceSession) -> str:
    """Name the provider that the session prefers of those that it really has."""
    used: str = session.get_providers()[0]
    return _SHORT.get(used, used)


def _available(policy: ProviderPolicy) -> list[str]:
    """The preference in ONNX Runtime's names, without what is not to be had here."""
    here = ort.get_available_providers()
    for name in policy.preference:
        if name not in PROVIDERS:
            raise BundleRefusedError(
                "provider", f"no execution provider {name!r}; there are: {', '.join(PROVIDERS)}"
            )
    missing = [name for name in policy.preference if PROVIDERS[name] not in here]
    if missing and not policy.allow_fallback:
        has = ", ".join(_SHORT.get(name, name) for name in here)
        raise BundleRefusedError(
            "provider",
            f"the execution provider {missing[0]!r} is not to be had here, only: {has}; "
            f"{_INSTALL.get(missing[0], 'choose another')}, or allow the fallback",
        )
    usable = [PROVIDERS[name] for name in policy.preference if name not in missing]
    return usable or [PROVIDERS["cpu"]]


def _first_line(error: Exception) -> str:
    """The reason, without ONNX Runtime's own source paths."""
    line = (str(error).splitlines() or ["no reason given"])[0]
    return re.sub(r"/\S+", "…", line)[:300]
