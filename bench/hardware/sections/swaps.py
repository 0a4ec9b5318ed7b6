"""20 new versions of a model under load, and the memory of GPU and server before and after."""

import json
import shutil
import threading
import time
from typing import Any

from bench.background import meanwhile
from bench.errors import TooFewCallsError
from bench.hardware.bundles import Tested, image_classifiers, only
from bench.hardware.check import Check, Results
from bench.hardware.gpu import gpu_memory_mb
from bench.memory import resident_mb
from bench.servers import Server, serving
from convscope.client import Client

__all__ = ["run"]

SWAPS = 20
# The server polls so often.
POLL_SECONDS = 0.1
# A version is served within this time, or the swap has failed.
SWAP_SECONDS = 30.0
IN_FLIGHT = 8
LOAD_SECONDS = 1.0
# The GPU's memory is read after each of so many swaps, and some time after the last one.
EVERY = 5
SETTLE_SECONDS = 1.5
# ResNet-50 shows less: its versions take longer to validate.
MODEL = "efficientnet_lite0"


def run(check: Check, results: Results) -> None:
    """Publish versions while calls go on; every call must succeed."""
    tested = _choose(check)
    flags = ("--provider", check.provider, "--poll-seconds", str(POLL_SECONDS), "--no-access-log")
    with serving(
        only(check, tested, "swaps"), *flags, tuning_cache=check.tuning_cache, seconds=check.left()
    ) as server:
        results.update(model=tested.name, swaps=SWAPS, seen=0, calls=0)
        stopped = threading.Event()
        load = _Load(check, tested, server, stopped, results)
        with meanwhile(load.run):
            try:
                load.started.wait(check.left())
                _swap(check, tested, server, results)
            finally:
                stopped.set()
        time.sleep(SETTLE_SECONDS)
        results["memory_after"] = _memory(server)
    if results["seen"] < SWAPS:
        seen = results["seen"]
        results["problems"] = [f"{seen} of {SWAPS} versions were served in time"]


class _Load:
    """Calls in a closed loop until it is stopped, each of which must succeed."""

    def __init__(
        self,
        check: Check,
        tested: Tested,
        server: Server,
        stopped: threading.Event,
        results: Results,
    ) -> None:
        self._check, self._server = check, server
        self._message = tested.tensor_request(1)
        self._stopped, self._results = stopped, results
        self.started = threading.Event()

    def run(self) -> None:
        """Call."""
        try:
            while not self._stopped.is_set():
                self._results["calls"] += self._call()
                self.started.set()
        finally:
            self.started.set()

    def _call(self) -> int:
        """Call for a second or some more, and return how many calls completed."""
        try:
            loop = self._server.saturate(
                self._message,
                self._check.scratch,
                in_flight=IN_FLIGHT,
                seconds=LOAD_SECONDS,
                warm_up=0.1,
            )
        except TooFewCallsError:
            return 0  # the machine is slow; nothing is known about the few calls that completed
        return loop.answered.succeeded


def _choose(check: Check) -> Tested:
    found = image_classifiers(check)
    return next((tested for tested in found if tested.name == MODEL), found[0])


def _swap(check: Check, tested: Tested, server: Server, results: Results) -> None:
    results["memory_before"] = _memory(server)
    results["memory_during"], results["swap_seconds"] = [], []
    first = int(tested.directory.name)
    photo = tested.inputs(1)[0]
    with Client(server.target, timeout_seconds=SWAP_SECONDS) as client:
        for number in range(first + 1, first + 1 + SWAPS):
            began = time.monotonic()
            _publish(check, tested, number)
            until = began + min(SWAP_SECONDS, check.left())
            while client.classify(photo, model=tested.name).version != number:
                if time.monotonic() > until:
                    return
                time.sleep(POLL_SECONDS / 2)
            results["swap_seconds"].append(round(time.monotonic() - began, 3))
            results["seen"] += 1
            if results["seen"] % EVERY == 0:
                results["memory_during"].append(_memory(server))


def _publish(check: Check, tested: Tested, number: int) -> None:
    """Publish a copy of the version with another number, and remove the one before the last."""
    root = only(check, tested, "swaps")
    made = check.scratch / "made"
    shutil.copytree(tested.directory, made)
    manifest = made / "manifest.json"
    content = json.loads(manifest.read_text())
    content["version"] = str(number)
    manifest.write_text(json.dumps(content))
    made.rename(root / tested.name / str(number))
    shutil.rmtree(root / tested.name / str(number - 2), ignore_errors=True)


def _memory(server: Server) -> dict[str, Any]:
    return {"gpu_mb": gpu_memory_mb(), "server_mb": round(resident_mb(server.process.pid), 1)}
