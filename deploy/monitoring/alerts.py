"""When somebody is told, and what that person should do first."""

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

# Who looks at a repository seldom has not lost sight of it yet.
_MISSED_POLLS = 3


@dataclass(frozen=True, slots=True)
class Condition:
    """A value and the comparison that must hold for it.

    The two are kept apart so that the value can be looked at while all is well:
    then the whole expression is rightly empty, and an empty answer would hide a
    misspelt metric.
    """

    value: str
    comparison: str

    def __str__(self) -> str:
        return f"{self.value} {self.comparison}"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule.

    Args:
        name: What it is called.
        conditions: All of which must hold for the same labels.
        severity: "page" wakes somebody, "ticket" waits for the morning.
        summary: One line: what is wrong, and where.
        description: What it means, and the first command to run.
        pending: How long the conditions must hold, as Prometheus writes it; "0s" not at all.
        labels: More labels, which tell apart the rules of one name.
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
        """The PromQL that gives a series for each thing that is wrong."""
        return " and ".join(map(str, self.conditions))


def alerts(objectives: Objectives) -> list[Alert]:
    """Every alert, the most urgent first."""
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
        "Run `docker compose ps server` and `docker compose logs --tail 50 server`, or their like: "
        "a server that can't start says why in its last line."
    )
    yield Alert(
        "ConvscopeDown",
        (Condition(f"up{{{JOB}}}", "== 0"),),
        "page",
        "{{ $labels.instance }} doesn't answer the scrape.",
        f"Its callers most likely get UNAVAILABLE. {look}",
        "1m",
    )
    yield Alert(
        "ConvscopeAbsent",
        (Condition(f"(count(up{{{JOB}}}) or vector(0))", "== 0"),),
        "page",
        "Prometheus knows no Convscope server.",
        "Nothing is scraped, so no other alert can fire. Look at Prometheus' page of targets and "
        f"at the job `convscope` of prometheus.yml. {look}",
        "5m",
    )


def _error_burn(window: BurnWindow, objectives: Objectives) -> Alert:
    budget = objectives.availability.budget
    return Alert(
        "ConvscopeErrorBudgetBurn",
        _burning(FAILURES, CALLS, budget, window, objectives),
        window.severity,
        f"{{{{ $value | humanizePercentage }}}} of the inference calls of the last {window.long} "
        f"failed; {budget:.2%} may.",
        f"{_pace(window, objectives)} See which code it is in the overview's panel of failures: "
        "ResourceExhausted and DeadlineExceeded mean more load than the machine carries (or "
        "callers with too short deadlines), Internal a fault whose trace the log has, Unavailable "
        "a model without a ready version. Then run `convscope admin status`.",
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
        f"{{{{ $value | humanizePercentage }}}} of the interactive requests answered in the last "
        f"{window.long} took more than {within}; {latency.budget:.2%} may.",
        f"{_pace(window, objectives)} The dashboard 'Where the time goes' shows which stage and "
        "which model: queue means too much load, decode larger images, infer a slower version or "
        "another execution provider. Run `convscope admin status` for what was loaded lately.",
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
    """How soon the budget is used up at the rate that raises the alert."""
    days = objectives.period_days / window.factor
    used = window_seconds(window.long) / 86400 / days
    return (
        f"At {window.factor:g} times the even rate the budget of {objectives.period_days} days is "
        f"gone in {days:.2g} days; {used:.0%} of it went in the last {window.long}."
    )


def _queue_near_bound(near: float) -> Alert:
    return Alert(
        "ConvscopeQueueNearBound",
        (Condition("convscope_queue_fill_ratio", f"> {number(near)}"),),
        "ticket",
        "The fullest queue of {{ $labels.model }} v{{ $labels.version }} is at "
        "{{ $value | humanizePercentage }} of its bound.",
        "Beyond it calls are refused with RESOURCE_EXHAUSTED. If it doesn't empty by itself, the "
        "load is more than the machine carries: add a server, or a worker (`--workers`). A larger "
        "`--max-queue` only makes the callers wait longer. See who sends: `docker compose logs "
        "--tail 50 server`.",
        "2m",
    )


def _load_failed() -> Alert:
    labels = "job, instance, model, version, reason"
    return Alert(
        "ConvscopeModelLoadFailed",
        (Condition(f"max by ({labels}) (convscope_model_refused)", "> 0"),),
        "ticket",
        "{{ $labels.model }} v{{ $labels.version }} was refused by the check of its "
        "{{ $labels.reason }}.",
        "What answered before answers on. Run `convscope admin status`: it names the file or "
        "value and the repair. Publish the version again, or remove it; it is tried again when "
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
        "{{ $value | humanize }} loads failed within 30 minutes (of each worker, on average), by "
        "the check of {{ $labels.reason }}.",
        "Something writes refused bundles again and again, perhaps straight into the repository "
        "instead of by `convscope-exporter publish`. Run `convscope admin status`, then look at "
        "what published last.",
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
        "It answers, and most likely slower. Run `nvidia-smi`, or the tool of the device at hand, "
        "on the server's machine. Once the device is back: the provider is chosen when a version "
        "is loaded, so run `convscope admin unload MODEL` and then `convscope admin load MODEL` "
        "(calls get UNAVAILABLE in between), or restart the server. If a TensorRT engine could "
        "not be built, the log says so.",
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
            Condition(poll, "> 0"),  # else it is looked at when an operator says so
        ),
        "ticket",
        "{{ $labels.instance }} last saw its remote repository "
        "{{ $value | humanizeDuration }} ago.",
        "What is loaded answers on; new versions and aliases don't arrive. Run `convscope admin "
        "status`, then list the bucket with the server's own credentials.",
        "5m",
    )


def _repository_sync_failing() -> Alert:
    counter, labels = "convscope_repository_sync_failures_total", "job, instance"
    failures = each_worker(counter, "15m", by=labels)
    return Alert(
        "ConvscopeRepositorySyncFailing",
        (Condition(failures, "> 3"),),
        "ticket",
        "{{ $labels.instance }} failed {{ $value | humanize }} times within 15 minutes (each "
        "worker, on average) to look at its remote repository.",
        "Other looks may have succeeded: the store or the way to it is unsteady. The log names "
        "each failure: `docker compose logs --tail 50 server`.",
        "0s",
    )
