"""Put the results of the attacks into docs/attacks.md: `python -m bench.attacks.page`."""

from collections.abc import Mapping
from typing import Any

from bench.attacks.record import load
from bench.attacks.results import Traffic, phrase, spread
from bench.attacks.rows import ROWS
from bench.context import ROOT
from bench.performance_page import between

__all__ = ["tables", "update"]

PAGE = ROOT / "docs" / "attacks.md"
RESULTS = ROOT / "bench" / "results" / "attacks.json"
BEGIN, END = "<!-- python -m bench.attacks -->\n", "<!-- /python -m bench.attacks -->\n"
BUSY = 0.1
Runs = Mapping[str, Mapping[str, Any]]


def tables(runs: Runs) -> str:
    """Return a table for each row of findings, with a pair of columns for each run."""
    dates = sorted(runs)
    parts = [_conditions(runs, dates)]
    for row, described in ROWS.items():
        attacks = dict.fromkeys(
            result["attack"]
            for date in reversed(dates)
            for result in runs[date]["results"]
            if result["row"] == row
        )
        if attacks:
            head = [cell for date in dates for cell in (f"server, {date}", "honest caller")]
            parts.append(f"### {described.title[0].upper()}{described.title[1:]}\n")
            parts.append(_line(["attack", *head]))
            parts.append("|---" * (1 + len(head)) + "|")
            for attack in attacks:
                found = (_find(runs[date]["results"], row, attack) for date in dates)
                parts.append(_line([attack, *(cell for one in found for cell in _cells(one))]))
            parts.append("")
    return "\n".join(parts)


def _conditions(runs: Runs, dates: list[str]) -> str:
    lines = []
    for date in dates:
        run = runs[date]
        line = f"- The server of {date} is that of commit `{run['commit']}`"
        if run["others"] > BUSY:
            line += (
                f". It was measured on a busy machine: other programs used {run['others']:.0%} of "
                "it, so that times are long and vary, and a ratio may be that of the machine"
            )
        lines.append(f"{line}.")
    return "\n".join(lines) + "\n"


def _find(results: list[Any], row: str, attack: str) -> Any:
    for result in results:
        if result["row"] == row and result["attack"] == attack:
            return result
    return None


def _cells(result: Any) -> tuple[str, str]:
    if result is None:
        return "", ""
    if not result["quiet"]:
        return phrase(result["figures"]), ""
    quiet, attacked = Traffic(**result["quiet"]), Traffic(**result["attacked"])
    times = f"p99 {quiet.p99_ms or 0:.0f} → {attacked.p99_ms or 0:.0f} ms"
    ratio = spread(attacked.ratio(quiet), result.get("ratios", ()))
    failed = attacked.failures()
    errors = "no errors" if failed == "0" else failed
    return phrase(result["figures"]), f"{times} ({ratio} times), {errors}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def update() -> None:
    """Write the page again if its tables have changed."""
    page = PAGE.read_text()
    new = between(page, BEGIN, END, tables(load(RESULTS)))
    if new != page:
        PAGE.write_text(new)


if __name__ == "__main__":
    update()
