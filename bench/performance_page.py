"""Put the last table of the bench into docs/performance.md: `python -m bench.performance_page`."""

from pathlib import Path

__all__ = ["between", "update", "with_table"]

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
TABLE = ROOT / "bench" / "results" / "latest.md"
BEGIN, END = "<!-- make bench -->\n", "<!-- /make bench -->\n"


def with_table(page: str, table: str) -> str:
    """Return the page with that table between its two marks.

    Raises:
        ValueError: The page lacks the marks.
    """
    return between(page, BEGIN, END, table)


def between(page: str, begin: str, end: str, table: str) -> str:
    """Return a page with a table between two marks.

    Raises:
        ValueError: The page lacks the marks.
    """
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page lacks {begin.strip()} or {end.strip()}")
    return f"{before}{begin}\n{table.strip()}\n\n{end}{after}"


def update() -> None:
    """Write the page again if its table has changed."""
    page = PAGE.read_text()
    new = with_table(page, TABLE.read_text())
    if new != page:
        PAGE.write_text(new)


if __name__ == "__main__":
    update()
