"""One request through the stages: decode, queue, infer.

It knows no transport: every door of the server (today the gRPC service) hands
it decoded requests, so that batching, limits and timing exist once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from convscope.server.batcher import (
    Batcher,
    ClosedError,
    Completed,
    ExpiredError,
    QueueFullError,
)
from convscope.server.errors import (
    DeadlineError,
    InvalidInputError,
    OverloadedError,
    ServingError,
    UnavailableError,
)
from convscope.server.model import Output, Work
from convscope.server.repository import LoadedVersion, Repository

__all__ = [
    "Answer",
    "EncodedImage",
    "Engine",
    "EngineLimits",
    "Input",
    "Observer",
    "Pixels",
    "ReadyTensor",
    "StageSeconds",
]


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """The bytes of an image file."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pixels:
    """A decoded image of any size, uint8 [height, width, channels]."""

    array: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ReadyTensor:
    """The graph's input without its batch dimension."""

    array: NDArray[np.generic]


Input = EncodedImage | Pixels | ReadyTensor


@dataclass(slots=True)
class StageSeconds:
    """How long one input spent in each stage."""

    decode: float = 0.0
    queue: float = 0.0
    infer: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of one input.

    Args:
        probabilities: float32 [classes].
        feature_maps: For each wanted name, float32 [channels, height, width].
        seconds: How long each stage took.
    """

    probabilities: NDArray[np.float32]
    feature_maps: Mapping[str, NDArray[np.float32]]
    seconds: StageSeconds


class Observer(Protocol):
    """Hears what one version does."""

    def stages(self, seconds: StageSeconds) -> None:
        """Hear of an input that was answered."""

    def batch(self, images: int) -> None:
        """Hear of a batch that starts."""

    def queue(self, waiting: Callable[[], int]) -> None:
        """Learn how to ask for the number of images that wait."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """The sizes of the engine's queues and pools."""

    max_batch: int
    max_queue: int
    max_delay_seconds: float
    runners: int
    decode_workers: int


@dataclass(frozen=True, slots=True)
class _Lane:
    """What one version's requests go through."""

    batcher: Batcher[Work, Output | Exception]
    observer: Observer


class Engine:
    """Runs requests on the versions of a repository, on one event loop.

    Args:
        repository: The versions that answer.
        limits: The sizes of the queues and pools.
        observe: Gives the observer of a version.
    """

    def __init__(
        self,
        repository: Repository,
        limits: EngineLimits,
        observe: Callable[[LoadedVersion], Observer],
    ) -> None:
        self.repository = repository
        self._limits = limits
        self._decoders = ThreadPoolExecutor(limits.decode_workers, thread_name_prefix="decoder")
        self._decoding = 0
        self._lanes = {
            version.key: self._open_lane(version, observe(version)) for version in repository
        }

    def start(self) -> None:
        """Begin to run, on the running event loop."""
        for lane in self._lanes.values():
            lane.batcher.start()

    async def close(self) -> None:
        """Refuse what waits, and wait for what runs."""
        for lane in self._lanes.values():
            await lane.batcher.close()
        self._decoders.shutdown(wait=True, cancel_futures=True)

    async def run(
        self,
        version: LoadedVersion,
        inputs: Sequence[Input],
        feature_maps: tuple[str, ...],
        deadline: float | None,
    ) -> list[Answer | ServingError]:
        """Answer each input, or say why not.

        Args:
            version: Which one answers.
            inputs: What to look at.
            feature_maps: The names of the wanted feature maps.
            deadline: The `loop.time()` after which nothing must start.

        Raises:
            OverloadedError: A queue is full.
            DeadlineError: The deadline passed before an input was run.
            UnavailableError: The server is closing.
        """
        lane = self._lanes[version.key]
        seconds = [StageSeconds() for _ in inputs]
        prepared = await self._prepare(version, inputs, seconds)
        outcomes: dict[int, Answer | ServingError] = {}
        arrays: dict[int, NDArray[np.generic]] = {}
        for index, item in enumerate(prepared):
            if isinstance(item, ServingError):
                outcomes[index] = item
            else:
                arrays[index] = item
        chunks = list(_batched(arrays, self._limits.max_batch))
        completed = await _gather(
            [self._infer(version, [arrays[i] for i in c], feature_maps, deadline) for c in chunks]
        )
        for chunk, (output, done) in zip(chunks, completed, strict=True):
            for row, index in enumerate(chunk):
                seconds[index].queue = done.queue_seconds
                seconds[index].infer = done.run_seconds
                outcomes[index] = _answer(output, row, seconds[index])
                lane.observer.stages(seconds[index])
        return [outcomes[index] for index in range(len(inputs))]

    def _open_lane(self, version: LoadedVersion, observer: Observer) -> _Lane:
        batcher: Batcher[Work, Output | Exception] = Batcher(
            version.model.run,
            max_batch=self._limits.max_batch,
            max_queue=self._limits.max_queue,
            max_delay=self._limits.max_delay_seconds,
            runners=self._limits.runners,
            on_batch=observer.batch,
        )
        observer.queue(lambda: batcher.waiting)
        return _Lane(batcher, observer)

    async def _prepare(
        self, version: LoadedVersion, inputs: Sequence[Input], seconds: list[StageSeconds]
    ) -> list[NDArray[np.generic] | ServingError]:
        """Bring every input to the graph's own shape, several at once."""
        ready = [item.array for item in inputs if isinstance(item, ReadyTensor)]
        if len(ready) == len(inputs):
            return list(ready)
        if self._decoding and self._decoding + len(inputs) > self._limits.max_queue:
            raise OverloadedError(
                f"{self._decoding} images wait to be decoded; at most "
                f"{self._limits.max_queue} may; retry later"
            )
        loop = asyncio.get_running_loop()
        self._decoding += len(inputs)
        try:
            return await _gather(
                [
                    loop.run_in_executor(self._decoders, _decode, version, item, times)
                    for item, times in zip(inputs, seconds, strict=True)
                ]
            )
        finally:
            self._decoding -= len(inputs)

    async def _infer(
        self,
        version: LoadedVersion,
        arrays: Sequence[NDArray[np.generic]],
        feature_maps: tuple[str, ...],
        deadline: float | None,
    ) -> tuple[Output, Completed[Output | Exception]]:
        stacked = arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)
        name = version.manifest.model
        try:
            completed = await self._lanes[version.key].batcher.submit(
                Work(stacked, feature_maps), size=len(arrays), deadline=deadline
            )
        except QueueFullError as error:
            raise OverloadedError(
                f"the queue of {name} is full ({self._limits.max_queue} images); retry later"
            ) from error
        except ExpiredError as error:
            raise DeadlineError(
                f"the deadline passed while the input waited for {name}; allow more time"
            ) from error
        except ClosedError as error:
            raise UnavailableError("the server is shutting down; call another one") from error
        if isinstance(completed.result, Exception):
            raise completed.result
        return completed.result, completed


async def _gather(calls: Sequence[Awaitable[T]]) -> list[T]:
    """Await one or many; a single one needs no task of its own."""
    return [await calls[0]] if len(calls) == 1 else list(await asyncio.gather(*calls))


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut items into lists of at most `size`."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _answer(output: Output, row: int, seconds: StageSeconds) -> Answer:
    maps = {name: array[row] for name, array in output.feature_maps.items()}
    return Answer(output.probabilities[row], maps, seconds)


def _decode(
    version: LoadedVersion, item: Input, seconds: StageSeconds
) -> NDArray[np.generic] | ServingError:
    """Prepare one input, in a thread."""
    if isinstance(item, ReadyTensor):
        return item.array
    if version.preprocessor is None:
        shape = list(version.manifest.input.shape)
        return InvalidInputError(
            f"{version.manifest.model} takes no images; send a float32 tensor {shape}"
        )
    started_at = perf_counter()
    try:
        if isinstance(item, EncodedImage):
            return version.preprocessor.decode(item.data)
        return version.preprocessor.prepare(item.array)
    except InvalidInputError as error:
        return error
    finally:
        seconds.decode = perf_counter() - started_at
