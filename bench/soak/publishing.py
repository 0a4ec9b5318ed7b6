"""Versions that come and go in a repository while a server polls it."""

import asyncio
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import grpc
from support.explained import write_explained
from support.repositories import corrupt
from support.tiny import write_signal

from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

__all__ = ["LARGE", "Publisher", "write_first"]

LARGE = "efficientnet_lite0"
SWAP_SECONDS = 6.0
# Of so many versions, one is of the large model, and one is rejected.
LARGE_EVERY, REJECTED_EVERY = 12, 7
SERVED_SECONDS = 60.0


def write_first(repository: Path, large: Path) -> None:
    """Write version 1 of each model.

    Args:
        repository: The repository.
        large: The version of the large model.
    """
    write_explained(repository)
    write_signal(repository)
    shutil.copytree(large, repository / LARGE / "1")


class Publisher:
    """Publishes a version every few seconds, and removes the one before.

    Args:
        repository: The repository, which the server polls.
        scratch: A directory on the same file system.
        target: The server.
    """

    def __init__(self, repository: Path, scratch: Path, target: str) -> None:
        self._repository = repository
        self._scratch = scratch
        self._target = target
        self._served = {"tiny": 1, "signal": 1, LARGE: 1}
        self._numbers = {model: count(2) for model in self._served}  # each is used once
        self._stopped = asyncio.Event()
        self._turn = 0
        self.ends = Counter[str]()

    @property
    def swaps(self) -> int:
        """How many versions replaced others."""
        return self.ends["served"]

    @property
    def errors(self) -> int:
        """How many versions were not served in time."""
        return self.ends["not served"]

    def stop(self) -> None:
        """Publish no more."""
        self._stopped.set()

    async def run(self) -> None:
        """Publish until stopped."""
        self._stopped.clear()
        async with grpc.aio.insecure_channel(self._target) as channel:
            stub = inference_pb2_grpc.ClassifierServiceStub(channel)
            while not self._stopped.is_set():
                due = time.monotonic() + SWAP_SECONDS
                self._turn += 1
                if self._turn % REJECTED_EVERY == 0:
                    await self._reject()
                else:
                    await self._swap(stub)
                try:
                    await asyncio.wait_for(self._stopped.wait(), max(0.0, due - time.monotonic()))
                except TimeoutError:
                    continue

    async def _swap(self, stub: Any) -> None:
        model = ("tiny", "signal")[self._turn % 2]
        if self._turn % LARGE_EVERY == 0:
            model = LARGE
        version = next(self._numbers[model])
        await asyncio.to_thread(self._publish, model, version)
        served = await self._is_served(stub, model, version)
        self.ends["served" if served else "not served"] += 1
        self._remove(model, self._served[model])
        self._served[model] = version

    async def _reject(self) -> None:
        """Publish a version of which a byte is changed, and remove it."""
        number = next(self._numbers["tiny"])
        await asyncio.to_thread(self._publish, "tiny", number, corrupt)
        await asyncio.sleep(2 * SWAP_SECONDS)
        self._remove("tiny", number)
        self.ends["rejected"] += 1

    def _publish(
        self, model: str, version: int, alter: Callable[[Path], None] = lambda directory: None
    ) -> None:
        made = self._scratch / model / str(version)
        shutil.rmtree(made, ignore_errors=True)
        if model == LARGE:
            shutil.copytree(self._repository / LARGE / str(self._served[LARGE]), made)
            manifest = made / "manifest.json"
            content = json.loads(manifest.read_text())
            content["version"] = version
            manifest.write_text(json.dumps(content))
        elif model == "signal":
            write_signal(self._scratch, version=version)
        else:
            write_explained(self._scratch, version=version)
        alter(made)
        made.rename(self._repository / model / str(version))

    def _remove(self, model: str, version: int) -> None:
        shutil.rmtree(self._repository / model / str(version))

    async def _is_served(self, stub: Any, model: str, version: int) -> bool:
        end = time.monotonic() + SERVED_SECONDS
        while time.monotonic() < end:
            reply = await stub.GetModel(pb.GetModelRequest(model=model), timeout=30)
            if reply.manifest.version == version:
                return True
            await asyncio.sleep(0.2)
        return False

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in sorted(self.ends.items()))
