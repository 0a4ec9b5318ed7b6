"""Format numbers as Grafana does."""

import math

__all__ = ["formatted", "ticks"]

_SHORT = ((1e9, "B"), (1e6, "M"), (1e3, "K"))
_BYTES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_STEPS = (1, 2, 2.5, 5, 10)


def formatted(value: float, unit: str, decimals: int | None = None) -> str:
    """Format a number with its unit, with three digits unless `decimals` is set."""
    if not math.isfinite(value):
        return "NaN"
    match unit:
        case "percentunit":
            return f"{_digits(100 * value, decimals)}%"
        case "s" if abs(value) < 1:
            return f"{_digits(1000 * value, decimals)} ms"
        case "s" if abs(value) >= 60:
            return f"{_digits(value / 60, decimals)} min"
        case "s":
            return f"{_digits(value, decimals)} s"
        case "reqps":
            return f"{_digits(value, decimals)} req/s"
        case "bytes":
            return _scaled(value, _BYTES, decimals, " ")
    return _scaled(value, _SHORT, decimals, "")


def ticks(high: float, count: int = 5) -> list[float]:
    """Return round values from 0 to just above `high`."""
    rough = high / count or 1.0
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in _STEPS if size * factor >= rough)
    return [step * i for i in range(math.ceil(high / step) + 1)]


def _scaled(
    value: float, scales: tuple[tuple[float, str], ...], decimals: int | None, gap: str
) -> str:
    for size, name in scales:
        if abs(value) >= size:
            return f"{_digits(value / size, decimals)}{gap}{name}"
    return _digits(value, decimals)


def _digits(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    before = len(str(int(abs(value))))
    text = f"{value:.{max(0, 3 - before)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
