"""A simulation of replicas that run batches: a queue and some runners each, event by event.

A replica behaves like the server: a free runner takes at once what waits, up to the largest
batch. An image is rejected if the queue is full or its deadline can't be met, and isn't run if
its deadline has become too close.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Literal

import numpy as np

from bench.scaling.autoscaler import Autoscaler, Observation

__all__ = ["Balancing", "Fleet", "ReplicaModel", "Result", "Sample"]

Balancing = Literal["random", "less loaded of two"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaModel:
    """One replica.

    Args:
        runners: The batches that run at once, one for each core.
        max_batch: The images of the largest batch.
        batch_seconds: The time of a batch, without that of its images.
        image_seconds: The time of each image of a batch.
        variation: The standard deviation of a batch's time relative to its mean; the times have
            a gamma distribution. 0 for equal times, 1 for exponential ones.
        max_queue: The images that may wait.
        deadline_seconds: How long a caller waits.
        start_seconds: The time from the order of a replica until it takes calls.
    """

    runners: int
    max_batch: int
    batch_seconds: float
    image_seconds: float
    variation: float = 0.0
    max_queue: int = 1024
    deadline_seconds: float = float("inf")
    start_seconds: float = 0.0

    def seconds(self, images: int) -> float:
        """Return the mean time of a batch."""
        return self.batch_seconds + images * self.image_seconds

    @property
    def capacity(self) -> float:
        """The images per second of full batches on all runners."""
        return self.runners * self.max_batch / self.seconds(self.max_batch)


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of the fleet at a time.

    Args:
        at: The time in seconds.
        ready: The replicas that take calls.
        replicas: The same and those that start.
        queue_ms: The mean time that images waited, as the autoscaler sees it.
        cpu: The utilization of the ready replicas' cores.
    """

    at: float
    ready: int
    replicas: int
    queue_ms: float
    cpu: float


@dataclass(slots=True)
class Result:
    """What happened to the images.

    Args:
        seconds: The duration.
        arrived: The number of images.
        answered: When each answered image arrived, in seconds.
        latencies: The time until its answer, in seconds.
        failed: When each other image arrived.
        rejected: How many of the failed ones were rejected on arrival; the others came too late.
        replica_seconds: The time of all replicas, those that start included.
        samples: The state at each decision of the autoscaler.
    """

    seconds: float
    arrived: int = 0
    answered: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    rejected: int = 0
    replica_seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the latency in milliseconds; NaN if no image was answered."""
        if not self.latencies:
            return float("nan")
        return 1000 * float(np.quantile(self.latencies, share))

    @property
    def failed_share(self) -> float:
        """The share of the images that failed."""
        return len(self.failed) / self.arrived if self.arrived else 0.0


class _Replica:
    __slots__ = ("free", "running", "waiting")

    def __init__(self, runners: int) -> None:
        self.free = runners
        self.running = 0
        self.waiting: deque[float] = deque()


class Fleet:
    """Replicas, and the calls that arrive at them.

    Args:
        model: Each of the replicas.
        replicas: Their number at the start, when all of them are ready.
        balancing: How a call finds its replica. "random" is what many clients bring about that
            go through their replicas in turn.
        autoscaler: Changes the number; None for a fixed one.
        seed: Makes the result reproducible.
    """

    def __init__(
        self,
        model: ReplicaModel,
        replicas: int,
        *,
        balancing: Balancing = "random",
        autoscaler: Autoscaler | None = None,
        seed: int = 0,
    ) -> None:
        self._model = model
        self._ready = [_Replica(model.runners) for _ in range(replicas)]
        self._starting: list[int] = []
        self._random = random.Random(seed)
        self._choose = self._one_of_all if balancing == "random" else self._less_loaded_of_two
        self._autoscaler = autoscaler
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = count()
        self._busy_seconds = 0.0
        self._busy_before = 0.0
        self._waited = (0.0, 0)  # the sum in seconds, and the number of images
        self._scrapes = deque([(0.0, 0.0, 0)])

    def run(self, arrivals: Iterable[float], seconds: float) -> Result:
        """Simulate a fleet, until every image that arrived is answered or has failed.

        Args:
            arrivals: When images arrive, in order.
            seconds: The duration in which they arrive.
        """
        self._result = Result(seconds)
        if self._autoscaler is not None:
            self._at(self._autoscaler.policy.polling_seconds, self._decide)
        for now in arrivals:
            self._advance(now)
            self._arrive(now)
        self._advance(seconds)
        self._result.replica_seconds += seconds * self._replicas
        self._autoscaler = None
        self._advance(float("inf"))
        return self._result

    @property
    def _replicas(self) -> int:
        return len(self._ready) + len(self._starting)

    def _at(self, time: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), action))

    def _advance(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            time, _, action = heapq.heappop(self._events)
            action(time)

    def _arrive(self, now: float) -> None:
        self._result.arrived += 1
        replica = self._choose()
        if self._rejects(replica):
            self._result.rejected += 1
            self._result.failed.append(now)
            return
        replica.waiting.append(now)
        if replica.free:
            self._start_batch(replica, now)

    def _rejects(self, replica: _Replica) -> bool:
        """Return whether the queue is full, or too long for the deadline."""
        model, waiting = self._model, len(replica.waiting)
        expected = waiting / model.capacity + model.seconds(model.max_batch)
        return waiting >= model.max_queue or expected > model.deadline_seconds

    def _one_of_all(self) -> _Replica:
        return self._ready[int(self._random.random() * len(self._ready))]

    def _less_loaded_of_two(self) -> _Replica:
        one, other = self._one_of_all(), self._one_of_all()
        return min(one, other, key=lambda each: len(each.waiting) + each.running)

    def _start_batch(self, replica: _Replica, now: float) -> None:
        batch: list[float] = []
        longest = self._model.seconds(self._model.max_batch)
        while replica.waiting and len(batch) < self._model.max_batch:
            arrived = replica.waiting.popleft()
            if now - arrived + longest > self._model.deadline_seconds:
                self._result.failed.append(arrived)
            else:
                batch.append(arrived)
        if not batch:
            return
        waited, images = self._waited
        self._waited = waited + sum(now - arrived for arrived in batch), images + len(batch)
        seconds = self._draw(self._model.seconds(len(batch)))
        self._busy_seconds += seconds
        replica.free -= 1
        replica.running += len(batch)
        self._at(now + seconds, partial(self._end_batch, replica, batch))

    def _draw(self, mean: float) -> float:
        variance = self._model.variation**2
        return self._random.gammavariate(1 / variance, mean * variance) if variance else mean

    def _end_batch(self, replica: _Replica, batch: list[float], now: float) -> None:
        replica.free += 1
        replica.running -= len(batch)
        for arrived in batch:
            if now - arrived > self._model.deadline_seconds:
                self._result.failed.append(arrived)
            else:
                self._result.answered.append(arrived)
                self._result.latencies.append(now - arrived)
        if replica.waiting:
            self._start_batch(replica, now)

    def _decide(self, now: float) -> None:
        """Called when the autoscaler looks at the metrics."""
        if self._autoscaler is None:
            return
        policy = self._autoscaler.policy
        seen = self._observe(now, policy.polling_seconds, policy.window_seconds)
        self._result.samples.append(Sample(now, seen.ready, seen.replicas, seen.queue_ms, seen.cpu))
        self._scale(self._autoscaler.desired(seen), now)
        self._at(now + policy.polling_seconds, self._decide)

    def _observe(self, now: float, polling_seconds: float, window_seconds: float) -> Observation:
        self._scrapes.append((now, *self._waited))
        while self._scrapes[0][0] < now - window_seconds:
            self._scrapes.popleft()
        _, waited, images = self._scrapes[0]
        new = self._waited[1] - images
        queue_ms = 1000 * (self._waited[0] - waited) / new if new else 0.0
        cores = len(self._ready) * self._model.runners
        cpu = (self._busy_seconds - self._busy_before) / (polling_seconds * cores)
        self._busy_before = self._busy_seconds
        return Observation(now, len(self._ready), self._replicas, queue_ms, min(1.0, cpu))

    def _scale(self, replicas: int, now: float) -> None:
        """Order replicas, or remove some: first those that aren't ready yet."""
        while self._replicas < replicas:
            number = next(self._numbers)
            self._starting.append(number)
            self._result.replica_seconds -= now
            self._at(now + self._model.start_seconds, partial(self._join, number))
        while self._replicas > replicas:
            # A removed replica still answers what has arrived at it.
            (self._starting or self._ready).pop()
            self._result.replica_seconds += now

    def _join(self, number: int, now: float) -> None:
        """Called when a replica is ready, unless it was removed before."""
        if number in self._starting:
            self._starting.remove(number)
            self._ready.append(_Replica(self._model.runners))
