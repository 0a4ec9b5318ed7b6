"""Limits how often invalid JSON web tokens cost the check of a signature."""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from convscope.server.frontend.access.rates import Rate

__all__ = ["FailureLimit"]

# Of one address, and of all of them together. A check takes a quarter of a millisecond.
PER_ADDRESS = 5.0
OF_ALL = 100.0
BURST_SECONDS = 4.0
MAX_ADDRESSES = 4096


class FailureLimit:
    """Counts failed checks by address; above the limit no further one is made for a while.

    Tokens that were valid before are cached, and so are not affected.

    Args:
        time: Returns the time.
    """

    def __init__(self, time: Callable[[], float] = monotonic) -> None:
        self._time = time
        self._all = Rate(OF_ALL, BURST_SECONDS, time)
        self._by_address: OrderedDict[str, Rate] = OrderedDict()

    def wait_seconds(self, address: str) -> float:
        """Return how long an address has to wait until a check is made; 0 for now.

        Args:
            address: The address; empty if it is not known.
        """
        own = self._by_address.get(address)
        return max(self._all.wait_seconds(), 0.0 if own is None else own.wait_seconds())

    def count(self, address: str) -> None:
        """Count a failed check."""
        self._all.take(1)
        if not address:
            return
        own = self._by_address.pop(address, None) or Rate(PER_ADDRESS, BURST_SECONDS, self._time)
        own.take(1)
        self._by_address[address] = own
        if len(self._by_address) > MAX_ADDRESSES:
            self._by_address.popitem(last=False)
