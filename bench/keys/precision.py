"""Measure BF16 on OpenVINO, and what --provider auto chooses, against the CPU provider in FP32."""

from pathlib import Path

import grpc

from bench.bundles import LITE0, plain_graph, repository
from bench.context import Bench
from bench.errors import BenchError
from bench.photos import pixels_224, tensor_message
from bench.provider_runs import NETWORKS, OPENVINO, PAIRS, RUNNERS, on_openvino, run, runs_of
from bench.registry import Measured, measurement
from bench.sampling import Sample, Samples
from bench.servers import Server, serving
from convscope.v1 import inference_pb2 as pb
from convscope.v1.inference_pb2_grpc import ClassifierServiceStub

IN_FLIGHT = 32
CPUINFO = Path("/proc/cpuinfo")


@measurement("bf16_speed")
def bf16_speed(bench: Bench) -> Measured:
    """Measure images per second of two runners with one thread each."""
    _check_machine()
    samples = {network: _speed(bench, network) for network in NETWORKS}
    return Measured(
        {f"bf16_speed.{name}": one.ratio("bf16", "fp32") for name, one in samples.items()},
        {name: one.details() for name, one in samples.items()},
    )


@measurement("auto_provider_speed")
def auto_provider_speed(bench: Bench) -> Measured:
    """Measure images per second that a server serves on the provider that it chose."""
    _check_machine()
    models, message = repository(bench, LITE0), tensor_message(LITE0, pixels_224(), (224, 224, 3))
    command = (str(OPENVINO), "-m", "convscope.server")
    alike = ("--runners", str(RUNNERS), "--threads", "1", "--max-batch", "1")
    with (
        serving(models, *alike, tuning_cache=bench.tuning_cache) as on_cpu,
        serving(
            models,
            *alike,
            "--provider",
            "auto",
            command=command,
            tuning_cache=bench.tuning_cache,
        ) as on_auto,
    ):
        chosen = _chosen(on_auto)

        def speed(server: Server) -> Sample:
            return server.saturate(
                message, bench.scratch, in_flight=IN_FLIGHT, seconds=bench.seconds(1.5), warm_up=0.3
            ).rate()

        samples = bench.interleave(PAIRS, auto=lambda: speed(on_auto), on_cpu=lambda: speed(on_cpu))
    return Measured(
        {f"auto_provider_speed.{LITE0}": samples.ratio("auto", "on_cpu")},
        {"chosen": chosen, "images_per_second": samples.details()},
    )


def _speed(bench: Bench, network: str) -> Samples:
    task = runs_of(bench, plain_graph(bench, network))
    bf16 = on_openvino(task, "bf16")
    return bench.interleave(PAIRS, bf16=lambda: run(bf16, OPENVINO), fp32=lambda: run(task))


def _chosen(server: Server) -> dict[str, object]:
    """Return what a server chose, and what it measured at load."""
    with grpc.insecure_channel(server.target) as channel:
        model = ClassifierServiceStub(channel).GetModel(pb.GetModelRequest(model=LITE0), timeout=10)
    return {
        "provider": model.summary.provider,
        "compute_precision": model.summary.compute_precision,
        "relative_speeds": {
            f"{one.provider} {one.compute_precision}": one.relative_speed
            for one in model.candidates
        },
    }


def _check_machine() -> None:
    """Check that OpenVINO is installed, and that the processor multiplies matrices in BF16."""
    if not (CPUINFO.exists() and "amx_bf16" in CPUINFO.read_text()):
        raise BenchError("no AMX")
    if not OPENVINO.exists():
        raise BenchError("OpenVINO's environment is missing; make it with: scripts/openvino.sh")
