"""What OpenVINO makes of the same network, behind the same server."""

from pathlib import Path

from bench.bundles import LITE0, repository
from bench.calls import classify
from bench.context import ROOT, Bench, interleave, ratio
from bench.errors import BenchError
from bench.photos import image_message, jpeg, pixels_224, tensor_message
from bench.reference import cores
from bench.registry import Measured, measurement
from bench.servers import Server, serving

IN_FLIGHT = 32
PHOTOS = ("500x375", "1024x768", "4000x3000")
CLASSES = 1000


@measurement("openvino_speed")
def openvino(bench: Bench) -> Measured:
    """Images a second on OpenVINO over those on the CPU provider, and how far they differ."""
    models, message = repository(bench, LITE0), tensor_message(LITE0, pixels_224(), (224, 224, 3))
    command = (str(_python()), "-m", "convscope.server")
    # The same for both, and what either chooses on a quiet machine: only the provider differs.
    alike = ("--runners", str(cores()), "--threads", "1", "--max-batch", "1")
    with (
        serving(models, *alike, tuning_cache=bench.tuning_cache) as on_cpu,
        serving(
            models,
            *alike,
            "--provider",
            "openvino",
            command=command,
            tuning_cache=bench.tuning_cache,
        ) as on_openvino,
    ):
        parity = max(_difference(on_openvino, on_cpu, photo) for photo in PHOTOS)

        def speed(server: Server) -> float:
            return server.saturate(
                message, bench.scratch, in_flight=IN_FLIGHT, seconds=bench.seconds(1.2), warm_up=0.3
            ).per_second

        samples = interleave(
            bench.repetitions,
            on_openvino=lambda: speed(on_openvino),
            on_cpu=lambda: speed(on_cpu),
        )
    return Measured(
        {"openvino_speed": ratio(samples, "on_openvino", "on_cpu"), "openvino_parity": parity},
        {"images_per_second": samples, "photos": PHOTOS},
    )


def _python() -> Path:
    """The Python of OpenVINO's environment, which bench/setup.sh has made."""
    python = ROOT / ".cache" / "openvino" / "bin" / "python"
    if not python.exists():
        raise BenchError("OpenVINO's environment is missing; make it with: scripts/openvino.sh")
    return python


def _difference(one: Server, other: Server, photo: str) -> float:
    """The largest difference of a class's probability for a photo, of which the top-1 is alike."""
    first, second = (_probabilities(server, photo) for server in (one, other))
    if max(first, key=first.__getitem__) != max(second, key=second.__getitem__):
        raise BenchError(f"the two providers see different things in {photo}")
    return max(abs(first[index] - second[index]) for index in first)


def _probabilities(server: Server, photo: str) -> dict[int, float]:
    (result,) = classify(server.target, image_message(LITE0, jpeg(photo), top_k=CLASSES)).results
    return {one.index: one.probability for one in result.prediction.classes}
