"""An exponential moving average that follows rises and falls at different speeds."""

__all__ = ["MovingAverage"]


class MovingAverage:
    """Averages a series of values; the newest ones have the most weight.

    Args:
        rise: The weight of a value above the average, 0 to 1.
        fall: The weight of a value below the average, 0 to 1.
        initial: The average before the first value. Without it, the first value
            becomes the average, and the average is 0 until then.
    """

    __slots__ = ("_fall", "_known", "_rise", "value")

    def __init__(self, *, rise: float, fall: float, initial: float | None = None) -> None:
        self._rise = rise
        self._fall = fall
        self._known = initial is not None
        self.value = initial or 0.0

    def add(self, value: float) -> None:
        """Move the average towards a value."""
        if not self._known:
            self.value, self._known = value, True
            return
        weight = self._rise if value > self.value else self._fall
        self.value += weight * (value - self.value)
