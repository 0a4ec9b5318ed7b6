"""Opens sessions, and reports where their nodes really run."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from threading import Timer
from typing import Any

import numpy as np
import onnxruntime as ort
import structlog
from numpy.typing import NDArray

from convscope.bundle.int8_sums import EXACT_SUMS_OPTION, sums_are_exact
from convscope.server.errors import BundleRejectedError
from convscope.server.runtime.providers.cuda import load_libraries, why_not_started
from convscope.server.runtime.providers.names import CPU, ON_GPU, PROVIDERS, START, short_name
from convscope.server.runtime.providers.openvino import openvino_options
from convscope.server.runtime.providers.policy import OPENVINO, ProviderPolicy
from convscope.server.runtime.providers.precision import measure_precision

__all__ = ["Session", "open_session", "run_bound", "run_within_limit"]

log = structlog.get_logger(__name__)

Array = NDArray[np.generic]
Floats = NDArray[np.float32]

# On an idle machine, a run of EfficientNet-Lite0 on two cores takes as long as with unlimited
# spinning: 8.6 ms, and 9.9 without any. Next to a busy program it takes 13 to 17 ms, and 18 to
# 21 with unlimited spinning.
SPIN_MICROSECONDS = 20
# Operators whose number of turns may depend on the input.
_LOOPS = frozenset({"Loop", "Scan"})
# Of one run. A graph without loops ends by itself.
MAX_LOOP_SECONDS = 60.0
# What ONNX Runtime reports if TensorRT's libraries are missing, or something that they need.
_NO_TENSORRT = "Please install TensorRT libraries"
# The options of OpenVINO that decide in which precision it computes.
_DECISIVE = ("device_type", "device_id", "device_luid", "precision", "load_config")


class Session:
    """An open graph on its execution providers. Safe to run from several threads.

    Args:
        session: ONNX Runtime's session.
        policy: The policy that it was opened with.
    """

    def __init__(self, session: ort.InferenceSession, policy: ProviderPolicy) -> None:
        self._session = session
        self._input_name: str = session.get_inputs()[0].name
        op_types = _op_types(session)
        self.nodes = {name: types.total() for name, types in op_types.items()}
        used = [name for name in (*policy.preference, CPU) if self.nodes.get(name)]
        used = list(dict.fromkeys(used)) or [short_name(session.get_providers()[0])]
        self.provider = "+".join(used)
        self.on_gpu = not ON_GPU.isdisjoint(used)
        as_wanted = policy.wanted in used and (CPU not in used or policy.wanted == CPU)
        self.fallback_from = "" if as_wanted else policy.wanted
        self.compute_precision = _compute_precision(used[0], policy)
        self._run = partial(run_bound, session) if self.on_gpu else session.run
        if any(not _LOOPS.isdisjoint(types) for types in op_types.values()):
            self._run = partial(run_within_limit, self._run)

    def run(self, outputs: Sequence[str] | None, inputs: Array) -> list[Floats]:
        """Run a batch.

        Args:
            outputs: Names of the graph's outputs; None for all.
            inputs: The graph's input, [n, ...].

        Returns:
            An array for each output; all outputs of a bundle are float32.
        """
        arrays: list[Floats] = self._run(outputs, {self._input_name: inputs})
        return arrays

    def run_with(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Run a batch of a graph with several inputs.

        Args:
            outputs: Names of the graph's outputs.
            feeds: The graph's inputs by name.

        Returns:
            An array for each output.
        """
        arrays: list[Array] = list(self._run(outputs, feeds))
        return arrays


def open_session(graph: bytes, policy: ProviderPolicy, threads: int) -> Session:
    """Open a session on the preferred provider that is available.

    Args:
        graph: The ONNX file.
        policy: Which providers it may use.
        threads: Threads of one run on the CPU.

    Raises:
        BundleRejectedError: No provider is available, or the policy is strict and
            the preferred one can't run the whole graph.
    """
    names = policy.candidates(ort.get_available_providers())
    if not policy.allow_fallback:
        return _open_strictly(graph, policy, names, threads)
    while True:
        try:
            opened = Session(_create(graph, policy, names, threads), policy)
            _check_precision(opened, policy)
            return opened
        except Exception as error:
            is_ours = isinstance(error, BundleRejectedError)
            reason = str(error) if is_ours else _cannot_run(names[0], error)
            if len(names) == 1:
                raise BundleRejectedError("provider", reason) from error
            log.warning("provider skipped", provider=names[0], reason=reason)
            names = names[1:]


def run_within_limit(
    run: Callable[..., list[Floats]], outputs: Sequence[str] | None, feeds: Mapping[str, Array]
) -> list[Floats]:
    """Run a graph with loops, whose number of turns may depend on the input, for a limited time.

    Raises:
        Exception: It doesn't end within the limit.
    """
    options = ort.RunOptions()
    timer = Timer(MAX_LOOP_SECONDS, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        return run(outputs, feeds, options)
    finally:
        timer.cancel()


def run_bound(
    session: ort.InferenceSession,
    outputs: Sequence[str] | None,
    feeds: Mapping[str, Array],
    options: ort.RunOptions | None = None,
) -> list[Floats]:
    """Run with inputs and outputs bound: each is copied once between host and GPU.

    The outputs are bound to the host's memory, where replies are encoded. A binding
    holds the arrays of one run, so every run has its own.
    """
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, np.ascontiguousarray(array))
    for name in outputs or [output.name for output in session.get_outputs()]:
        binding.bind_output(name, "cpu")
    session.run_with_iobinding(binding, options)
    arrays: list[Floats] = binding.copy_outputs_to_cpu()
    return arrays


def _open_strictly(
    graph: bytes, policy: ProviderPolicy, names: Sequence[str], threads: int
) -> Session:
    """Open a session whose nodes all run on the given providers."""
    try:
        session = _create(graph, policy, names, threads, strict=True)
    except Exception as error:
        why = _why_not(graph, policy, names, threads)
        raise BundleRejectedError("provider", why or _cannot_run(names[0], error)) from error
    if reason := _not_started(session, names):
        raise BundleRejectedError("provider", reason)
    opened = Session(session, policy)
    if names[0] not in opened.provider.split("+"):
        raise BundleRejectedError(
            "provider",
            f"{names[0]} runs no node of the graph, and {opened.provider} runs all of them; "
            f"choose {opened.provider} instead, or allow the fallback",
        )
    _check_precision(opened, policy)
    return opened


def _check_precision(session: Session, policy: ProviderPolicy) -> None:
    """Check that the preferred provider computes as it was told.

    Raises:
        BundleRejectedError: It computes in another precision, which OpenVINO does without an
            error.
    """
    wanted, found = policy.required_precision, session.compute_precision
    runs = policy.wanted in session.provider.split("+")
    if runs and wanted is not None and found != wanted:
        raise BundleRejectedError(
            "provider",
            f"{policy.wanted} computes in {found} here, although it was told to use {wanted}: this "
            f"processor doesn't support {wanted}; choose --precision auto, or another machine",
        )


def _compute_precision(provider: str, policy: ProviderPolicy) -> str:
    """Return the precision of FP32 operations: OpenVINO's is measured, others' known by options."""
    options = policy.options.get(provider, {})
    if provider == OPENVINO:
        given = openvino_options(options, policy.precision, 1, 1)
        return _measure_openvino(tuple((k, given[k]) for k in _DECISIVE if k in given))
    if provider == "tensorrt":
        formats = {"trt_fp16_enable": "fp16", "trt_bf16_enable": "bf16"}
        return next((one for name, one in formats.items() if _is_on(options.get(name))), "tf32")
    if provider == "cuda":
        exact = policy.precision == "fp32" or not _is_on(options.get("use_tf32", "1"))
        return "fp32" if exact else "tf32"
    return "fp32"


@cache
def _measure_openvino(options: tuple[tuple[str, str], ...]) -> str:
    """Return the precision of OpenVINO with these options on this machine."""

    def open_probe(graph: bytes) -> ort.InferenceSession:
        providers = [(PROVIDERS[OPENVINO], dict(options))]
        quiet = ort.SessionOptions()
        quiet.log_severity_level = 3
        return ort.InferenceSession(graph, quiet, providers=providers, enable_fallback=0)

    return measure_precision(open_probe)


def _is_on(value: str | None) -> bool:
    return value is not None and value.lower() in ("1", "true")


def _why_not(
    graph: bytes, policy: ProviderPolicy, names: Sequence[str], threads: int
) -> str | None:
    """Open a session that isn't strict, to find out why a strict one fails; None: unknown."""
    try:
        session = _create(graph, policy, names, threads)
    except Exception:  # noqa: BLE001 - the first error explains it
        return None
    if reason := _not_started(session, names):
        return reason
    op_types = _op_types(session)
    if CPU not in op_types:
        return None
    nodes = sum(types.total() for types in op_types.values())
    return (
        f"{names[0]} leaves {op_types[CPU].total()} of {nodes} nodes to the CPU "
        f"({', '.join(sorted(op_types[CPU]))}); "
        "export the network without them, choose another provider, or allow the fallback"
    )


def _not_started(session: ort.InferenceSession, names: Sequence[str]) -> str | None:
    """Explain which provider ONNX Runtime has left out; it does so without an error."""
    started = [short_name(name) for name in session.get_providers()]
    for name in names:
        if name not in started:
            why = why_not_started(name) if name in ON_GPU else START[name]
            return (
                f"this ONNX Runtime has the execution provider {name!r}, but it doesn't start; "
                f"{why}, or allow the fallback"
            )
    return None


def _cannot_run(name: str, error: Exception) -> str:
    if _NO_TENSORRT in str(error):
        return f"tensorrt doesn't start; {why_not_started(name)}"
    return f"{name} can't run the graph: {_first_line(error)}"


def _create(
    graph: bytes,
    policy: ProviderPolicy,
    names: Sequence[str],
    threads: int,
    *,
    strict: bool = False,
) -> ort.InferenceSession:
    if not ON_GPU.isdisjoint(names):
        load_libraries()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # While they wait for their next operator, threads spin for a moment only. Without limit,
    # they take the cores from decoding, from the event loop and from other programs.
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_MICROSECONDS))
    # Releases that don't know the limit stop at least at the end of a run.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if not _adds_exactly():
        options.add_session_config_entry(EXACT_SUMS_OPTION, "1")
    if strict and names[0] != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    providers = [(PROVIDERS[name], _options(name, policy, threads)) for name in names]
    # Its own fallback would be reported on standard output only.
    return ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)


@cache
def _adds_exactly() -> bool:
    """Return whether this CPU needs no option for exact INT8 sums."""
    return sums_are_exact(_run_plainly)


def _run_plainly(graph: bytes, feed: Mapping[str, Array]) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        graph, options, providers=[(PROVIDERS[CPU], {})], enable_fallback=0
    )
    return session.run(None, dict(feed))[0]


def _options(name: str, policy: ProviderPolicy, threads: int) -> Mapping[str, str]:
    """Return the options of a provider: those that are set, and those that follow from threads."""
    options = dict(policy.options.get(name, {}))
    if name == OPENVINO:
        return openvino_options(options, policy.precision, policy.cores, threads)
    if name == "cuda" and policy.precision == "fp32":
        return {**options, "use_tf32": "0"}
    return options


def _op_types(session: ort.InferenceSession) -> dict[str, Counter[str]]:
    """Return, by provider, the types of the nodes that it runs."""
    op_types: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        types = op_types.setdefault(short_name(part.ep_name), Counter())
        types.update(node.op_type for node in part.get_nodes())
    return op_types


def _first_line(error: Exception) -> str:
    """Return the reason, without ONNX Runtime's own source paths."""
    line = (str(error).splitlines() or ["no reason given"])[0]
    message = re.sub(r"^/\S+:\d+ [^)]*\) ", "", line)
    return re.sub(r"/\S+", "…", message)[:300]
