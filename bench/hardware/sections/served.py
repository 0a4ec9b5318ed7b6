"""Images per second of the tuned server, for calls with 1 to 64 tensors or JPEGs."""

from collections.abc import Iterator
from typing import Any

from bench.errors import BenchError, TooFewCallsError
from bench.hardware.bundles import Tested, image_classifiers, only
from bench.hardware.check import Check, Results, attempt
from bench.hardware.gpu import gpu_memory_mb
from bench.hardware.sections.in_process import BATCHES
from bench.memory import resident_mb
from bench.photos import jpeg
from bench.servers import Server, serving

__all__ = ["run"]

PHOTO = "500x375"
# So many images are in flight, in at least two calls.
IMAGES = 128
WARM_UP_SECONDS = 0.3
MODELS = 2
# 64 tensors of 224 x 224 pixels have more than the default of 8 MiB.
FLAGS = ("--max-request-bytes", str(64 * 2**20), "--max-queue", "1024", "--no-access-log")


def run(check: Check, results: Results) -> None:
    """Measure the classifiers of images one after the other."""
    results["photo"] = f"{PHOTO} JPEG, {len(jpeg(PHOTO))} bytes"
    reports: dict[str, Any] = {}
    results["models"] = reports
    needed = 4 * (WARM_UP_SECONDS + check.window) * len(BATCHES)
    for tested in check.while_time(image_classifiers(check)[:MODELS], needed, results):
        report: dict[str, Any] = {"rows": []}
        reports[tested.name] = report
        with attempt(tested.name, results):
            _measure(check, tested, report)
        failed = [row for row in report["rows"] if "failed" in row]
        if failed:
            results.setdefault("problems", []).append(f"{tested.name}: {failed[0]['failed']}")


def _measure(check: Check, tested: Tested, report: dict[str, Any]) -> None:
    flags = ("--provider", check.provider, *FLAGS)
    with serving(
        only(check, tested, "served"),
        *flags,
        tuning_cache=check.tuning_cache,
        seconds=check.left(),
    ) as server:
        report["ready_seconds"] = server.ready_seconds
        for row in _rows(check, tested, server):
            report["rows"].append(row)
        report["gpu_memory_mb"] = gpu_memory_mb()
        report["server_memory_mb"] = resident_mb(server.process.pid)


def _rows(check: Check, tested: Tested, server: Server) -> Iterator[dict[str, Any]]:
    yield _row(check, server, "tensor", tested.tensor_request(1), 1, 1)
    for images in BATCHES:
        calls = max(2, IMAGES // images)
        for kind in ("tensor", "jpeg"):
            if check.left() < 4 * (WARM_UP_SECONDS + check.window):
                return
            message = (
                tested.tensor_request(images)
                if kind == "tensor"
                else tested.jpeg_request(jpeg(PHOTO), images)
            )
            yield _row(check, server, kind, message, images, calls)


def _row(
    check: Check, server: Server, kind: str, message: bytes, images: int, calls: int
) -> dict[str, Any]:
    row = {"input": kind, "images_per_call": images, "calls_in_flight": calls}
    try:
        loop = server.saturate(
            message,
            check.scratch,
            in_flight=calls,
            seconds=check.window,
            warm_up=WARM_UP_SECONDS,
        )
    except TooFewCallsError as error:
        return row | {"too_slow": str(error)}
    except BenchError as error:
        return row | {"failed": str(error)}
    rate = loop.rate()
    if not rate.value:
        return row | {"too_slow": "all calls ended within one burst, too short a time for a rate"}
    return row | {
        "images_per_second": images * rate.value,
        "median_call_ms": loop.latency_ms().value,
        "server_cpu_us_per_image": rate.cpu_us and rate.cpu_us / images,
        "generator_cores": rate.generator_cores,
        "others_share_of_cpu": rate.others,
    }
