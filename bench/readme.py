"""Put the latest table of the bench into the README: `python -m bench.readme`."""

from pathlib import Path

__all__ = ["update", "with_table"]

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
TABLE = ROOT / "bench" / "results" / "latest.md"
BEGIN, END = "<!-- make bench -->\n", "<!-- /make bench -->\n"


def with_table(readme: str, table: str) -> str:
    """Return the README with the table between its two marks.

    Raises:
        ValueError: The README lacks the marks.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md lacks {BEGIN.strip()} or {END.strip()}")
    return f"{before}{BEGIN}\n{table.strip()}\n\n{END}{after}"


def update() -> None:
    """Update the README if its table differs."""
    readme = README.read_text()
    new = with_table(readme, TABLE.read_text())
    if new != readme:
        README.write_text(new)


if __name__ == "__main__":
    update()
