"""The extension statistics: what the versions have done, read from what the metrics count."""

from convscope.server.frontend.open_inference import open_inference_pb2 as pb
from convscope.server.observability.metrics.totals import Total, VersionTotals

__all__ = ["describe_totals"]


def describe_totals(name: str, number: int, totals: VersionTotals) -> pb.ModelStatistics:
    """Bring the totals of a version to the protocol's form.

    Requests are counted whole, and the stages by input: the quotient of time
    and count is what one of them took.

    Args:
        name: The name that the model was asked for by.
        number: The version.
        totals: What it has done; requests of both doors.
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
