"""The autoscaler of deploy/kubernetes/components/autoscaling, as KEDA and Kubernetes run it.

The algorithm is that of Kubernetes' HorizontalPodAutoscaler: the desired number of replicas is
the current one times the metric relative to its target, the trigger that wants more wins, and
the policies limit how fast the number changes.
"""

import math
from collections import deque
from dataclasses import dataclass

__all__ = ["Autoscaler", "Observation", "Policy"]

# Kubernetes changes nothing while a metric is this close to its target.
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings of the ScaledObject.

    Args:
        min_replicas: The smallest number of replicas.
        max_replicas: The largest number of replicas.
        polling_seconds: The time between two decisions.
        window_seconds: The window of the query for the queue time.
        queue_ms: The target of the mean time that an image waits for a runner; None for no such
            trigger.
        cpu: The target of the CPU utilization, from 0 to 1; None for no such trigger.
        up_share: The replicas that may be added in a period, relative to those at its start.
        up_replicas: The replicas that may be added in a period; the larger of both counts.
        up_period_seconds: The period of additions.
        down_stabilization_seconds: The highest number that was desired within this time counts.
        down_replicas: The replicas that may be removed in a period.
        down_period_seconds: The period of removals.
    """

    min_replicas: int = 2
    max_replicas: int = 10
    polling_seconds: float = 15.0
    window_seconds: float = 60.0
    queue_ms: float | None = 20.0
    cpu: float | None = 0.6
    up_share: float = 1.0
    up_replicas: int = 2
    up_period_seconds: float = 60.0
    down_stabilization_seconds: float = 300.0
    down_replicas: int = 1
    down_period_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What the autoscaler sees.

    Args:
        now: The time in seconds.
        ready: The replicas that take calls.
        replicas: The same and those that start.
        queue_ms: The mean time that images waited, over the policy's window.
        cpu: The mean utilization of the ready replicas' cores, from 0 to 1.
    """

    now: float
    ready: int
    replicas: int
    queue_ms: float
    cpu: float


class Autoscaler:
    """Decides on the number of replicas.

    Args:
        policy: The settings.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._changes: deque[tuple[float, int]] = deque()
        self._wanted: deque[tuple[float, int]] = deque()

    def desired(self, seen: Observation) -> int:
        """Return the number of replicas for the next period."""
        policy = self.policy
        wanted = max(self._by_queue(seen), self._by_cpu(seen))
        wanted = min(policy.max_replicas, max(policy.min_replicas, wanted))
        self._wanted.append((seen.now, wanted))
        while self._wanted[0][0] < seen.now - policy.down_stabilization_seconds:
            self._wanted.popleft()
        if wanted > seen.replicas:
            number = min(wanted, self._most(seen))
        else:
            highest = max(number for _, number in self._wanted)
            number = max(min(highest, seen.replicas), self._least(seen))
        if number != seen.replicas:
            self._changes.append((seen.now, number - seen.replicas))
        return number

    def _by_queue(self, seen: Observation) -> int:
        """Kubernetes multiplies the ready replicas by the ratio of a metric of this type."""
        if self.policy.queue_ms is None:
            return 0
        ratio = seen.queue_ms / self.policy.queue_ms
        return seen.replicas if _is_close(ratio) else math.ceil(ratio * seen.ready)

    def _by_cpu(self, seen: Observation) -> int:
        """Replicas that start count as idle, so that they aren't ordered twice."""
        if self.policy.cpu is None:
            return 0
        ratio = seen.cpu / self.policy.cpu
        if ratio <= 1:
            return seen.replicas if _is_close(ratio) else math.ceil(ratio * seen.ready)
        ratio *= seen.ready / seen.replicas
        keeps = ratio <= 1 or _is_close(ratio)
        return seen.replicas if keeps else math.ceil(ratio * seen.replicas)

    def _most(self, seen: Observation) -> int:
        policy = self.policy
        before = seen.replicas - self._changed(seen.now, policy.up_period_seconds, added=True)
        return max(before + policy.up_replicas, math.ceil(before * (1 + policy.up_share)))

    def _least(self, seen: Observation) -> int:
        policy = self.policy
        before = seen.replicas + self._changed(seen.now, policy.down_period_seconds, added=False)
        return before - policy.down_replicas

    def _changed(self, now: float, period: float, *, added: bool) -> int:
        """Return how many replicas were added or removed in the period that ends now."""
        recent = [number for at, number in self._changes if at > now - period]
        return sum(max(0, number if added else -number) for number in recent)


def _is_close(ratio: float) -> bool:
    return abs(ratio - 1) <= TOLERANCE
