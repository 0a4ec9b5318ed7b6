"""PromQL shared by rules and dashboards, and the names of the recorded series."""

__all__ = [
    "ANSWERS",
    "CALLS",
    "FAILURES",
    "INFERENCE",
    "INTERACTIVE",
    "JOB",
    "LIMITED",
    "SLOW",
    "each_worker",
    "mean",
    "number",
    "quantile",
    "rate",
    "ratio",
]

# The job's name in prometheus.yml.
JOB = 'job="convscope"'
# Unary methods only: the caller decides how long a stream lasts.
INFERENCE = 'grpc_method=~"Classify|ModelInfer"'
# Bulk requests are meant to wait, so no objective covers their latency.
INTERACTIVE = 'priority="interactive"'

# Each is recorded for every window of the burn rates. The window is appended to the name.
LIMITED = "job:inference_calls_over_own_limit:rate"
CALLS = "job:inference_calls:rate"
FAILURES = "job:inference_failures_per_call:ratio_rate"
ANSWERS = "job:interactive_answers:rate"
SLOW = "job:interactive_slow_per_answer:ratio_rate"


def rate(metric: str, conditions: str, window: str, *, by: str = "") -> str:
    """Return the summed increase per second, grouped by the labels in `by`."""
    return f"sum{_by(by)}(rate({metric}{{{conditions}}}[{window}]))"


def ratio(part: str, whole: str) -> str:
    """Divide one sum by another with the same labels."""
    return f"{part} / {whole}"


def mean(metric: str, conditions: str, window: str, *, by: str = "") -> str:
    """Return the mean of a histogram's observations in the window."""
    return ratio(
        rate(f"{metric}_sum", conditions, window, by=by),
        rate(f"{metric}_count", conditions, window, by=by),
    )


def quantile(share: float, metric: str, conditions: str, window: str, *, by: str = "") -> str:
    """Return a quantile of a histogram's observations in the window."""
    kept = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', conditions, window, by=kept)})"


def each_worker(counter: str, window: str, *, by: str) -> str:
    """Return the increase of a counter in the window, per worker on average.

    Each worker counts an event such as a rejected bundle. Without the division, four workers
    would turn one event into four. The divisor is the largest number of workers in the window,
    because a worker that is being replaced has counted too.

    Args:
        counter: The metric, summed over the workers of a server.
        window: The length of the window.
        by: The labels to keep, which must include "job" and "instance".
    """
    workers = f"max by (job, instance) (max_over_time(convscope_workers[{window}]))"
    increase = f"sum by ({by}) (increase({counter}[{window}]))"
    return f"{increase} / on (job, instance) group_left {workers}"


def number(value: float) -> str:
    """Format a number without binary rounding errors: 0.0144, not 0.014400000000000001."""
    return f"{value:.6g}"


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
