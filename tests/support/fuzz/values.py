"""Values at which code breaks, and damage to bytes and texts."""

from collections.abc import Sequence
from random import Random

__all__ = ["FLOATS", "INTEGERS", "TEXTS", "damage_bytes", "damage_text", "integer"]

INTEGERS = (
    *(0, 1, 2, 3, 7, 8, 16, 17, 255, 256, 1000, 4096, 65_535, 65_536, 10**6),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**64 - 1),
    *(-1, -2, -128, -(2**31), -(2**63)),
)
FLOATS = (0.0, -0.0, 0.5, 1.0, -1.0, 1e-320, 1e38, 1e308, float("inf"), -float("inf"), float("nan"))
TEXTS = (
    *("", " ", "\0", "0", "-1", "1e999", "NaN", "null", "true", "..", "../..", "/etc/passwd"),
    *("a" * 64, "a" * 10_000, "é", "日本語", "\u202e", "\U0001f600", "\x1b[31m", "{}", "[]", "%s"),
    *("{0.__class__}", "\r\n", '"', "'", "\\", "a,b", "a\tb", "#", "file:///etc/passwd"),
)
_TOKENS = (*TEXTS[:-1], "{", "}", "[", "]", ",", ":", "=", "\n", "\ufeff", "[" * 2000, "9" * 5000)


def integer(random: Random, low: int, high: int) -> int:
    """Return an interesting integer of a range."""
    fitting = [value for value in (*INTEGERS, low, high) if low <= value <= high]
    return random.choice(fitting) if random.random() < 0.8 else random.randint(low, high)


def damage_bytes(data: bytes, random: Random) -> bytes:
    """Change some bytes: flip, overwrite, cut out, repeat, insert or cut off."""
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        at = random.randrange(len(out) + 1)
        span = random.choice((1, 1, 2, 4, 8, 64))
        match random.randrange(6):
            case 0 if at < len(out):
                out[at] ^= 1 << random.randrange(8)
            case 1:
                out[at : at + span] = random.randbytes(span)
            case 2:
                del out[at : at + span]
            case 3:
                out[at:at] = out[at : at + span] * random.choice((1, 1, 2, 100))
            case 4:
                value = random.choice(INTEGERS) % 2 ** (8 * span)
                out[at : at + span] = value.to_bytes(span, random.choice(("little", "big")))
            case _:
                del out[at:]
    return bytes(out)


def damage_text(text: str, random: Random, tokens: Sequence[str] = ()) -> str:
    """Change some characters, words or lines of a text.

    Args:
        text: A valid text.
        random: The randomness.
        tokens: Words that mean something in this kind of text.
    """
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        at = random.randrange(len(text) + 1)
        end = min(len(text), at + random.choice((1, 1, 2, 5, 20)))
        match random.randrange(6):
            case 0:
                text = text[:at] + random.choice((*tokens, *_TOKENS)) + text[at:]
            case 1:
                text = text[:at] + random.choice((*tokens, *_TOKENS)) + text[end:]
            case 2:
                text = text[:at] + text[end:]
            case 3:
                text = text[:at] + text[at:end] * random.choice((2, 2, 3, 300)) + text[end:]
            case 4:
                lines = text.splitlines(keepends=True)
                random.shuffle(lines)
                text = "".join(lines)
            case _:
                text = text.replace(text[at:end] or "\n", random.choice((*tokens, *_TOKENS)), 2)
        text = text[:100_000]
    return text
