"""Some minutes of varied load: low, higher on both models, overload with failures, low again."""

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from convscope.client import Client
from convscope.client.errors import ConvscopeError

__all__ = ["PHASES", "Phase", "apply_load"]

_DATA = Path(__file__).resolve().parents[3] / "tests" / "data"
_EFFICIENTNET, _DIGITS = "efficientnet_lite0", "digits"


@dataclass(frozen=True, slots=True)
class Phase:
    """The callers during one phase of the load. Each caller pauses between its calls.

    Args:
        seconds: The duration.
        digits: The number of callers of the small network.
        photos: The number of callers of the large network.
        hurried: The number of callers of the large network with a short deadline.
        mistaken: The number of callers that send text instead of an image, or an unknown model.
    """

    seconds: float
    digits: int = 2
    photos: int = 2
    hurried: int = 0
    mistaken: int = 1


PHASES = (Phase(50), Phase(40, digits=8, photos=4), Phase(45, hurried=6), Phase(50))

_Call = Callable[[Client, int], object]


def apply_load(target: str, phases: Sequence[Phase], after_first: Callable[[], None]) -> None:
    """Send the requests of the phases to a server. Call `after_first` after the first phase."""
    photo, digits = _photo(), [path.read_bytes() for path in sorted(_DATA.glob("digits/*.png"))]

    def of_digits(client: Client, turn: int) -> object:
        return client.classify(digits[turn % len(digits)], model=_DIGITS)

    def of_photos(client: Client, turn: int) -> object:
        return client.classify(photo, model=_EFFICIENTNET)

    def hurried(client: Client, turn: int) -> object:
        return client.classify(photo, model=_EFFICIENTNET, timeout_seconds=0.3)

    def mistaken(client: Client, turn: int) -> object:
        return client.classify(b"text", model=_DIGITS if turn % 2 else "unknown")

    for index, phase in enumerate(phases):
        ends_at = time.monotonic() + phase.seconds
        callers: list[tuple[_Call, float]] = [
            *[(of_digits, 0.05)] * phase.digits,
            *[(of_photos, 0.25)] * phase.photos,
            *[(hurried, 0.15)] * phase.hurried,
            *[(mistaken, 1.0)] * phase.mistaken,
        ]
        with ThreadPoolExecutor(len(callers)) as pool:
            runs = [pool.submit(_call_until, ends_at, target, *caller) for caller in callers]
        for run in runs:
            run.result()
        if index == 0:
            after_first()


def _call_until(ends_at: float, target: str, call: _Call, pause_seconds: float) -> None:
    with Client(target) as client:
        turn = 0
        while time.monotonic() < ends_at:
            with contextlib.suppress(ConvscopeError):  # failures are part of the load
                call(client, turn)
            turn += 1
            time.sleep(pause_seconds)


def _photo() -> bytes:
    """Encode a photo as a JPEG of a typical web page."""
    out = io.BytesIO()
    Image.open(_DATA / "coffee.png").convert("RGB").save(out, "JPEG", quality=90)
    return out.getvalue()
