"""The statistics extension: the totals of the versions, from what the metrics count."""

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.observability.metrics.totals import Total, VersionTotals

__all__ = ["describe_totals"]


def describe_totals(name: str, number: int, totals: VersionTotals) -> pb.ModelStatistics:
    """Convert the totals of a version to the protocol's message.

    Requests are counted as a whole and stages by input: time divided by count
    is the average duration of one.

    Args:
        name: The name of the model in the request.
        number: The version.
        totals: Its totals, from requests of both services.
    """
    stages = totals.stages
    return pb.ModelStatistics(
        name=name,
        version=str(number),
        last_inference=round(1000 * totals.last_success_at),
        inference_count=stages["infer"].count,
        execution_count=totals.batches,
        inference_stats=pb.InferStatistics(
            success=_duration(totals.succeeded),
            fail=_duration(totals.failed),
            queue=_duration(stages["queue"]),
            compute_input=_duration(stages["decode"]),
            compute_infer=_duration(stages["infer"]),
            compute_output=_duration(stages["encode"]),
        ),
    )


def _duration(total: Total) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=total.count, ns=round(1e9 * total.seconds))
