"""How `convscope watch` shows an interval: as a table, or as lines."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convscope.client.cli.scrape import Difference
from convscope.client.cli.table_style import plain_table

__all__ = ["duration", "lines", "view"]

NOTHING = "–"
STAGES = ("decode", "queue", "infer", "encode")
MIB = 2**20
# From this width on, a table has room for the names of models.
TABLE_WIDTH = 84
# Codes that say nothing against the server.
_NO_ERRORS = ("OK", "CANCELLED")


@dataclass(frozen=True, slots=True)
class _Row:
    """What one version did in an interval."""

    model: str
    version: str
    provider: str
    requests: float
    p50: float | None
    p99: float | None
    errors: float
    batch: float | None
    queue: float
    fill: float


def view(difference: Difference, address: str, status: str, width: int) -> RenderableType:
    """Return an interval as a picture of the terminal.

    Args:
        difference: The interval.
        address: The server's.
        status: What is happening: the time, or why there is no reply.
        width: The columns of the terminal.
    """
    parts: list[RenderableType] = [
        Text.assemble((address, "bold"), f"  {' · '.join(_process(difference))}"),
        *_versions(list(_rows(difference)), width),
    ]
    if details := "\n".join(_details(difference)):
        parts.append(Text(f"\n{details}"))
    if status:
        parts.append(Text(f"\n{status}", "dim"))
    return Group(*parts)


def lines(difference: Difference) -> Iterator[str]:
    """Yield an interval as a line for each version, for a file or another program."""
    process = f"memory={_memory(difference) / MIB:.0f}MiB"
    rows = list(_rows(difference))
    for row in rows:
        yield (
            f"{row.model} v{row.version} requests/s={row.requests:.1f} p50={_word(row.p50)} "
            f"p99={_word(row.p99)} errors/s={row.errors:.1f} "
            f"batch={NOTHING if row.batch is None else f'{row.batch:.1f}'} "
            f"queue={row.queue:.0f} {process}"
        )
    if not rows:
        yield f"no version is loaded {process}"


def duration(seconds: float | None) -> str:
    """Return a duration as text: 6.45 µs, 3.21 ms, 45.6 ms, 1.23 s."""
    if seconds is None:
        return NOTHING
    if math.isinf(seconds):
        return "> 10 s"  # the largest bound of the server's histograms
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-4 else f"{1e6 * seconds:.3g} µs"


def _word(seconds: float | None) -> str:
    """Return a duration without spaces, which separate the fields of a line."""
    return duration(seconds).replace(" ", "")


def _rows(difference: Difference) -> Iterator[_Row]:
    after = difference.after
    for found, ready in after.find("convscope_model_info"):
        if not ready:
            continue
        of = {"model": found["model"], "version": found["version"]}
        p50, p99 = difference.quantiles("convscope_request_seconds", (0.5, 0.99), **of)
        errors = {
            code: difference.rate("convscope_requests_total", **of, code=code)
            for code in {each["code"] for each, _ in after.find("convscope_requests_total", **of)}
        }
        yield _Row(
            **of,
            provider=found.get("provider", ""),
            requests=sum(errors.values()),
            p50=p50,
            p99=p99,
            errors=sum(rate for code, rate in errors.items() if code not in _NO_ERRORS),
            batch=difference.mean("convscope_batch_images", **of),
            queue=after.total("convscope_queue_images", **of),
            fill=after.total("convscope_queue_fill_ratio", **of),
        )


def _versions(rows: list[_Row], width: int) -> Iterator[RenderableType]:
    """Yield a table, or in a narrow terminal two lines for each version."""
    rows = sorted(rows, key=lambda row: (-row.requests, row.model))
    if not rows:
        yield Text("\nno version is loaded")
    elif width >= TABLE_WIDTH:
        yield Text()
        yield _table(rows)
    else:
        for row in rows:
            errors = (f"errors {row.errors:,.1f}/s", "bold red" if row.errors else "")
            batch = NOTHING if row.batch is None else f"{row.batch:.1f}"
            yield Text.assemble("\n", (row.model, "bold"), f" v{row.version} {row.provider}")
            yield Text.assemble(
                f"  {row.requests:,.1f} requests/s · p50 {duration(row.p50)} · p99 "
                f"{duration(row.p99)} · ",
                errors,
                f" · batch {batch} · queue {row.queue:.0f}",
            )


def _table(rows: list[_Row]) -> Table:
    table = plain_table()
    table.show_edge = False  # and no empty line at its end
    table.add_column("model", overflow="fold")
    for heading in ("requests/s", "p50", "p99", "errors/s", "batch", "queue"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        queue = f"{row.queue:.0f}" + (f" ({row.fill:.0%})" if row.queue else "")
        table.add_row(
            Text.assemble((row.model, "bold"), f" v{row.version} {row.provider}"),
            f"{row.requests:,.1f}",
            duration(row.p50),
            duration(row.p99),
            Text(f"{row.errors:,.1f}", "bold red" if row.errors else ""),
            NOTHING if row.batch is None else f"{row.batch:.1f}",
            Text(queue, "bold red" if row.fill >= 1 else ""),
        )
    return table


def _process(difference: Difference) -> Iterator[str]:
    workers = difference.after.total("convscope_workers")
    if workers > 1:
        yield f"{workers:.0f} workers"
    yield f"CPU {difference.rate('process_cpu_seconds_total'):.2f} cores"
    yield f"memory {_memory(difference) / MIB:,.0f} MiB"
    in_flight = difference.after.total("convscope_request_memory_bytes")
    yield f"requests {in_flight / MIB:,.1f} MiB"


def _memory(difference: Difference) -> float:
    return difference.after.total("process_resident_memory_bytes")


def _details(difference: Difference) -> Iterator[str]:
    """Yield the means of the stages, the errors by code, and what else needs attention."""
    means = {stage: difference.mean("convscope_stage_seconds", stage=stage) for stage in STAGES}
    if any(mean is not None for mean in means.values()):
        shown = (f"{stage} {duration(mean)}" for stage, mean in means.items() if mean is not None)
        yield f"stages  {' · '.join(shown)} (mean)"
    codes = sorted({f["code"] for f, _ in difference.after.find("convscope_requests_total")})
    rates = {code: difference.rate("convscope_requests_total", code=code) for code in codes}
    errors = [f"{code} {rate:,.1f}/s" for code, rate in rates.items() if rate and code != "OK"]
    if errors:
        yield f"errors  {' · '.join(errors)}"
    refused = [
        f"{f['model']} v{f['version']} ({f['reason']})"
        for f, value in difference.after.find("convscope_model_refused")
        if value
    ]
    if refused:
        yield f"rejected  {', '.join(refused)}"
