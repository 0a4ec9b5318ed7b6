"""The alerts: when each one fires, and what the person on call should do first."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from deploy.monitoring.expressions import (
    ANSWERS,
    CALLS,
    FAILURES,
    JOB,
    SLOW,
    each_worker,
    number,
)
from deploy.monitoring.objectives import BurnWindow, Objectives, window_seconds

__all__ = ["Alert", "Condition", "alerts"]

# With a long polling interval, an old sync alone is no sign of a problem.
_MISSED_POLLS = 3


@dataclass(frozen=True, slots=True)
class Condition:
    """A value and the comparison that must hold for it.

    The two are separate so that a test can evaluate the value while no alert fires. The whole
    expression is then empty, as it should be, and an empty result would hide a misspelled metric.
    """

    value: str
    comparison: str

    def __str__(self) -> str:
        return f"{self.value} {self.comparison}"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule.

    Args:
        name: The name of the rule.
        conditions: The conditions, all of which must hold for the same labels.
        severity: "page" for immediate attention, "ticket" for working hours.
        summary: One line: what is wrong, and where.
        description: What it means, and the first command to run.
        pending: How long the conditions must hold, in Prometheus syntax; "0s" for no delay.
        labels: Further labels, which distinguish rules of the same name.
    """

    name: str
    conditions: tuple[Condition, ...]
    severity: str
    summary: str
    description: str
    pending: str
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def expression(self) -> str:
        """Return the PromQL expression, which has one series for each problem."""
        return " and ".join(map(str, self.conditions))


def alerts(objectives: Objectives) -> list[Alert]:
    """Return every alert, the most urgent first."""
    return [
        *_down(),
        *(_error_burn(window, objectives) for window in objectives.burn),
        *(_latency_burn(window, objectives) for window in objectives.burn),
        _queue_near_bound(objectives.queue.near_bound),
        _load_failed(),
        _loads_failing(),
        _provider_fell_back(),
        _repository_stale(objectives.repository.stale_seconds),
        _repository_sync_failing(),
    ]


def _down() -> Iterator[Alert]:
    look = (
        "Run `docker compose ps server` and `docker compose logs --tail 50 server`, or the "
        "equivalent: a server that can't start logs the reason in its last line."
    )
    yield Alert(
        "ConvscopeDown",
        (Condition(f"up{{{JOB}}}", "== 0"),),
        "page",
        "{{ $labels.instance }} doesn't respond to scrapes.",
        f"Callers most likely get UNAVAILABLE. {look}",
        "1m",
    )
    yield Alert(
        "ConvscopeAbsent",
        (Condition(f"(count(up{{{JOB}}}) or vector(0))", "== 0"),),
        "page",
        "Prometheus has no Convscope server to scrape.",
        "Nothing is scraped, so no other alert can fire. Check the targets page of Prometheus and "
        f"the job `convscope` in prometheus.yml. {look}",
        "5m",
    )


def _error_burn(window: BurnWindow, objectives: Objectives) -> Alert:
    budget = objectives.availability.budget
    return Alert(
        "ConvscopeErrorBudgetBurn",
        _burning(FAILURES, CALLS, budget, window, objectives),
        window.severity,
        f"{{{{ $value | humanizePercentage }}}} of the inference calls of the last {window.long} "
        f"failed; {budget:.2%} are allowed to.",
        f"{_pace(window, objectives)} The panel 'Calls by code' of the overview shows the code. "
        "ResourceExhausted and DeadlineExceeded mean more load than the machine can handle, or "
        "callers with deadlines that are too short. Internal means a bug, and the log has its "
        "traceback. Unavailable means a model without a ready version. Then run `convscope admin "
        "status`.",
        "2m",
        {"long_window": window.long},
    )


def _latency_burn(window: BurnWindow, objectives: Objectives) -> Alert:
    latency = objectives.latency
    within = f"{1000 * latency.threshold_seconds:g} ms"
    return Alert(
        "ConvscopeLatencyBudgetBurn",
        _burning(SLOW, ANSWERS, latency.budget, window, objectives),
        window.severity,
        f"{{{{ $value | humanizePercentage }}}} of the interactive requests completed in the last "
        f"{window.long} took more than {within}; {latency.budget:.2%} are allowed to.",
        f"{_pace(window, objectives)} The dashboard 'Where the time goes' shows the stage and "
        "the model. A slow queue stage means too much load, decode means larger images, and infer "
        "means a slower version or another execution provider. Run `convscope admin status` to see "
        "the loaded versions.",
        "2m",
        {"long_window": window.long},
    )


def _burning(
    ratio: str, whole: str, budget: float, window: BurnWindow, objectives: Objectives
) -> tuple[Condition, ...]:
    too_fast = f"> {number(window.factor * budget)}"
    return (
        Condition(f"{ratio}{window.long}", too_fast),
        Condition(f"{ratio}{window.short}", too_fast),
        Condition(f"{whole}{window.long}", f"> {number(objectives.guard.min_calls_per_second)}"),
    )


def _pace(window: BurnWindow, objectives: Objectives) -> str:
    """State how soon the budget is used up at the rate that raises the alert."""
    days = objectives.period_days / window.factor
    used = window_seconds(window.long) / 86400 / days
    return (
        f"At {window.factor:g} times the sustainable rate, the budget for {objectives.period_days} "
        f"days lasts {days:.2g} days. The last {window.long} used {used:.0%} of it."
    )


def _queue_near_bound(near: float) -> Alert:
    return Alert(
        "ConvscopeQueueNearBound",
        (Condition("convscope_queue_fill_ratio", f"> {number(near)}"),),
        "ticket",
        "The fullest queue of {{ $labels.model }} v{{ $labels.version }} is at "
        "{{ $value | humanizePercentage }} of its bound.",
        "When the queue is full, calls fail with RESOURCE_EXHAUSTED. If the queue doesn't drain, "
        "the load is more than the machine can handle: add a server, or a worker (`--workers`). A "
        "larger `--max-queue` only makes callers wait longer. To see who sends the requests, run "
        "`docker compose logs --tail 50 server`.",
        "2m",
    )


def _load_failed() -> Alert:
    labels = "job, instance, model, version, reason"
    return Alert(
        "ConvscopeModelLoadFailed",
        (Condition(f"max by ({labels}) (convscope_model_refused)", "> 0"),),
        "ticket",
        "{{ $labels.model }} v{{ $labels.version }} was rejected by the check "
        "'{{ $labels.reason }}'.",
        "The previous version keeps serving. Run `convscope admin status`, which names the file or "
        "value and the fix. Publish the version again, or remove it. The server retries it when "
        "its files change.",
        "1m",
    )


def _loads_failing() -> Alert:
    counter, labels = "convscope_model_load_failures_total", "job, instance, reason"
    failures = each_worker(counter, "30m", by=labels)
    return Alert(
        "ConvscopeModelLoadsFailing",
        (Condition(failures, "> 3"),),
        "ticket",
        "{{ $value | humanize }} loads per worker failed within 30 minutes, rejected by the check "
        "'{{ $labels.reason }}'.",
        "Something writes bad bundles repeatedly, perhaps directly into the repository instead of "
        "with `convscope-exporter publish`. Run `convscope admin status`, then check what "
        "published last.",
        "0s",
    )


def _provider_fell_back() -> Alert:
    labels = "job, instance, model, version, wanted, provider"
    return Alert(
        "ConvscopeProviderFellBack",
        (Condition(f"max by ({labels}) (convscope_provider_fallback)", "> 0"),),
        "ticket",
        "{{ $labels.model }} v{{ $labels.version }} runs on {{ $labels.provider }} instead of "
        "{{ $labels.wanted }}.",
        "It still serves requests, but most likely slower. Run `nvidia-smi`, or the equivalent for "
        "the device, on the server's machine. The provider is chosen when a version is loaded. "
        "When the device is available again, run `convscope admin unload MODEL` and then "
        "`convscope admin load MODEL` (calls get UNAVAILABLE in between), or restart the server. "
        "If a TensorRT engine could not be built, the log has the reason.",
        "2m",
    )


def _repository_stale(stale_seconds: int) -> Alert:
    age = "time() - convscope_repository_last_sync_timestamp_seconds"
    poll = "convscope_repository_poll_seconds"
    return Alert(
        "ConvscopeRepositoryStale",
        (
            Condition(age, f"> {stale_seconds}"),
            Condition(f"{age} - {_MISSED_POLLS} * {poll}", "> 0"),
            Condition(poll, "> 0"),  # 0: the server syncs only on request
        ),
        "ticket",
        "{{ $labels.instance }} last synced with its remote repository "
        "{{ $value | humanizeDuration }} ago.",
        "The loaded versions keep serving, but new versions and aliases don't arrive. Run "
        "`convscope admin status`, then list the bucket with the server's own credentials.",
        "5m",
    )


def _repository_sync_failing() -> Alert:
    counter, labels = "convscope_repository_sync_failures_total", "job, instance"
    failures = each_worker(counter, "15m", by=labels)
    return Alert(
        "ConvscopeRepositorySyncFailing",
        (Condition(failures, "> 3"),),
        "ticket",
        "{{ $labels.instance }} failed to sync with its remote repository {{ $value | humanize }} "
        "times per worker within 15 minutes.",
        "Other syncs may have succeeded: the store or the network is unreliable. The log has each "
        "failure: `docker compose logs --tail 50 server`.",
        "0s",
    )
