"""Put the last table of the bench into docs/performance.md: `python -m bench.performance_page`."""

from pathlib import Path

__all__ = ["update", "with_table"]

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
TABLE = ROOT / "bench" / "results" / "latest.md"
BEGIN, END = "<!-- make bench -->\n", "<!-- /make bench -->\n"


def with_table(page: str, table: str) -> str:
    """Return the page with that table between its two marks.

    Raises:
        ValueError: The page lacks the marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"docs/performance.md lacks {BEGIN.strip()} or {END.strip()}")
    return f"{before}{BEGIN}\n{table.strip()}\n\n{END}{after}"


def update() -> None:
    """Write the page again if its table has changed."""
    page = PAGE.read_text()
    new = with_table(page, TABLE.read_text())
    if new != page:
        PAGE.write_text(new)


if __name__ == "__main__":
    update()
