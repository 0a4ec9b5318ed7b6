"""Parts of HTML that suit light and dark notebooks.

Styles are inline, because some notebooks remove <style>. Text has the notebook's own color, and
lines and bars are translucent.
"""

import html
from collections.abc import Iterable, Sequence

__all__ = ["bars", "block", "caption", "dim", "escape", "heading", "line", "table"]

_FONT = "font:13px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;color:inherit"
_DIM = "opacity:.7"
_TRACK, _BAR = "rgba(128,128,128,.18)", "#3b8fd9"
_LINE = "rgba(128,128,128,.3)"
_CELL = (
    "padding:3px 12px 3px 0;text-align:left;vertical-align:top;border:0;background:none;"
    "font-size:13px"
)


def escape(text: object) -> str:
    """Return a text as HTML."""
    return html.escape(str(text))


def dim(content: str) -> str:
    """Return HTML that is less prominent."""
    return f'<span style="{_DIM}">{content}</span>'


def heading(text: str) -> str:
    """Return a text as a heading."""
    return f'<div style="font-weight:600;overflow-wrap:anywhere">{escape(text)}</div>'


def line(parts: Iterable[str]) -> str:
    """Return short texts as one dim line."""
    joined = " · ".join(filter(None, parts))
    return f'<div style="{_FONT};{_DIM};font-size:12px">{escape(joined)}</div>' if joined else ""


def caption(picture: str, text: str) -> str:
    """Return a picture above a text."""
    under = f'<div style="{_DIM};font-size:12px;padding-top:3px">{escape(text)}</div>'
    return f'<div style="max-width:20em">{picture}{under if text else ""}</div>'


def block(*columns: str) -> str:
    """Return HTML side by side, or below each other where it is narrow."""
    style = f"{_FONT};display:flex;flex-wrap:wrap;gap:8px 20px;align-items:flex-start"
    inner = "".join(f"<div>{column}</div>" for column in columns if column)
    return f'<div style="{style}">{inner}</div>'


def bars(scores: Iterable[tuple[str, float]], *, width: int = 140) -> str:
    """Return names with their probabilities, as a bar chart."""
    rows = "".join(
        f'<tr style="background:none"><td style="{_CELL};min-width:8em">{escape(label)}</td>'
        f'<td style="{_CELL};vertical-align:middle">{_bar(probability, width)}</td>'
        f'<td style="{_CELL};text-align:right;font-variant-numeric:tabular-nums">'
        f"{probability:.1%}</td></tr>"
        for label, probability in scores
    )
    return f'<table style="border-collapse:collapse;margin:4px 0;border:0">{rows}</table>'


def _bar(probability: float, width: int) -> str:
    filled = max(1, round(width * probability))
    return (
        f'<div style="width:{width}px;height:8px;border-radius:4px;background:{_TRACK}">'
        f'<div style="width:{filled}px;height:8px;border-radius:4px;background:{_BAR}"></div></div>'
    )


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table.

    Args:
        names: The heading of each column; none for a table without headings.
        rows: The content of each cell, as HTML.
    """
    header = f'<th style="{_CELL};font-weight:600;border-bottom:1px solid {_LINE}">'
    head = "".join(f"{header}{escape(name)}</th>" for name in names)
    first = f'<thead><tr style="background:none">{head}</tr></thead>' if names else ""
    body = "".join(
        '<tr style="background:none">'
        + "".join(f'<td style="{_CELL};vertical-align:middle">{cell}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    style = f"{_FONT};border-collapse:collapse;border:0;margin:0"
    return f'<table style="{style}">{first}<tbody>{body}</tbody></table>'
