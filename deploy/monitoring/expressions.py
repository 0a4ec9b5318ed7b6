"""PromQL that rules and dashboards have in common, and the names of what is recorded."""

__all__ = [
    "ANSWERS",
    "CALLS",
    "FAILURES",
    "INFERENCE",
    "INTERACTIVE",
    "JOB",
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
# A call of these is one question and one answer; a stream's duration is its caller's.
INFERENCE = 'grpc_method=~"Classify|ModelInfer"'
# Bulk requests are meant to wait, so how long they take is nobody's promise.
INTERACTIVE = 'priority="interactive"'

# Recorded for each window of the burn rates: the window follows the name.
CALLS = "job:inference_calls:rate"
FAILURES = "job:inference_failures_per_call:ratio_rate"
ANSWERS = "job:interactive_answers:rate"
SLOW = "job:interactive_slow_per_answer:ratio_rate"


def rate(metric: str, conditions: str, window: str, *, by: str = "") -> str:
    """The increase per second, summed; `by` keeps these labels apart."""
    return f"sum{_by(by)}(rate({metric}{{{conditions}}}[{window}]))"


def ratio(part: str, whole: str) -> str:
    """One sum over another of the same labels."""
    return f"{part} / {whole}"


def mean(metric: str, conditions: str, window: str, *, by: str = "") -> str:
    """The mean of what a histogram observed in the window."""
    return ratio(
        rate(f"{metric}_sum", conditions, window, by=by),
        rate(f"{metric}_count", conditions, window, by=by),
    )


def quantile(share: float, metric: str, conditions: str, window: str, *, by: str = "") -> str:
    """The value that a share of a histogram's observations in the window stay within."""
    kept = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', conditions, window, by=kept)})"


def each_worker(counter: str, window: str, *, by: str) -> str:
    """The increase of a counter in the window, of one worker on average.

    What happens once, such as a refused bundle, each worker counts: without
    the division four workers would make four events of it. The most workers
    of the window count, for one that is being replaced has counted as well.

    Args:
        counter: The metric; the job's server shows the sum of its workers.
        window: Over which time.
        by: The labels to keep; "job" and "instance" must be among them.
    """
    workers = f"max by (job, instance) (max_over_time(convscope_workers[{window}]))"
    increase = f"sum by ({by}) (increase({counter}[{window}]))"
    return f"{increase} / on (job, instance) group_left {workers}"


def number(value: float) -> str:
    """A number without the dust of binary fractions: 0.0144, not 0.014400000000000001."""
    return f"{value:.6g}"


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
