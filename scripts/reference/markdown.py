"""Small pieces of Markdown that the reference pages share."""

import re
from collections.abc import Iterable, Sequence

__all__ = ["code", "definition", "prose", "sentence", "table"]


def code(text: object) -> str:
    """Return a text as inline code, whatever it contains."""
    shown = str(text)
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def prose(text: str) -> str:
    """Return a comment or a help text as one paragraph, without accidental Markdown or HTML."""
    joined = re.sub(r"\s*\n\s*", " ", text.strip())
    parts = re.split(r"(`[^`]*`)", joined)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_\[\]|])", r"\\\1", _without_tags(part))
        for part in parts
    )


def _without_tags(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;")


def sentence(text: str) -> str:
    """Return a text with a full stop at its end."""
    return text if not text or text.endswith((".", "!", "?", ":")) else f"{text}."


def definition(term: str, *paragraphs: str) -> str:
    """Return an entry of a definition list."""
    shown = [paragraph for paragraph in paragraphs if paragraph]
    body = "\n\n    ".join(shown) if shown else "—"
    return f"{term}\n:   {body}\n"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. A cell may contain a vertical bar only within its own escapes."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
