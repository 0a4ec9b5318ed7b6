"""Compare OpenVINO with the CPU provider on the same network and server."""

from pathlib import Path

from bench.bundles import LITE0, repository
from bench.calls import classify
from bench.context import ROOT, Bench
from bench.errors import BenchError
from bench.photos import image_message, jpeg, pixels_224, tensor_message
from bench.reference import cores
from bench.registry import Measured, measurement
from bench.sampling import Figure, Sample
from bench.servers import Server, serving

IN_FLIGHT = 32
PHOTOS = ("500x375", "1024x768", "4000x3000")
CLASSES = 1000


@measurement("openvino_speed")
def openvino(bench: Bench) -> Measured:
    """Measure images per second on OpenVINO, relative to the CPU provider, and the parity."""
    models, message = repository(bench, LITE0), tensor_message(LITE0, pixels_224(), (224, 224, 3))
    command = (str(_python()), "-m", "convscope.server")
    # The same for both, as either would choose on a quiet machine, so only the provider differs.
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

        def speed(server: Server) -> Sample:
            return server.saturate(
                message, bench.scratch, in_flight=IN_FLIGHT, seconds=bench.seconds(1.2), warm_up=0.3
            ).rate()

        samples = bench.interleave(
            on_openvino=lambda: speed(on_openvino),
            on_cpu=lambda: speed(on_cpu),
        )
    return Measured(
        {
            "openvino_speed": samples.ratio("on_openvino", "on_cpu"),
            "openvino_parity": Figure(parity),
        },
        {"images_per_second": samples.details(), "photos": PHOTOS},
    )


def _python() -> Path:
    """Return the Python of OpenVINO's environment, which bench/setup.sh makes."""
    python = ROOT / ".cache" / "openvino" / "bin" / "python"
    if not python.exists():
        raise BenchError("OpenVINO's environment is missing; make it with: scripts/openvino.sh")
    return python


def _difference(one: Server, other: Server, photo: str) -> float:
    """Return the largest difference of a probability for a photo; the top classes must be equal."""
    first, second = (_probabilities(server, photo) for server in (one, other))
    if max(first, key=first.__getitem__) != max(second, key=second.__getitem__):
        raise BenchError(f"the two providers return different top classes for {photo}")
    return max(abs(first[index] - second[index]) for index in first)


def _probabilities(server: Server, photo: str) -> dict[int, float]:
    (result,) = classify(server.target, image_message(LITE0, jpeg(photo), top_k=CLASSES)).results
    return {one.index: one.probability for one in result.prediction.classes}
