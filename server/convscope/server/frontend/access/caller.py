"""The callers of a policy at run time: their rights, and how much of their rates is used."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Literal

from convscope.server.errors import CallerLimitError, PermissionDeniedError
from convscope.server.frontend.access.methods import RATED
from convscope.server.frontend.access.policy import CallerRules
from convscope.server.frontend.access.rates import Rate
from convscope.server.frontend.transport.memory_budget import PUSHBACK_MS, MemoryBudget

__all__ = ["AccessCaller", "DenialReason", "OnDenied"]

DenialReason = Literal["unauthenticated", "rpc", "model", "rate", "concurrent_bytes", "flood"]
OnDenied = Callable[[DenialReason], None]


class AccessCaller:
    """One caller; a `Caller`.

    Args:
        rules: Its table in the policy.
        share: The part of its limits that applies in this process.
        on_denied: Called with the reason of each call or request that is denied.
        rated_bytes: The bytes that it may have in flight in this process if it has a rate and its
            table states no limit: streams that wait for their rate must not hold all memory.
    """

    def __init__(
        self,
        rules: CallerRules,
        share: float,
        on_denied: OnDenied,
        rated_bytes: int | None = None,
    ) -> None:
        self.name = rules.name
        self.rules = rules
        self.on_denied = on_denied
        self._has_all_models = "*" in rules.models
        self._names = frozenset(rules.models)
        self._patterns = [one for one in rules.models if set(one) & set("*?[")]
        self._images, self._bytes = (
            None if per_second is None else Rate(per_second * share, rules.burst_seconds)
            for per_second in (rules.images_per_second, rules.bytes_per_second)
        )
        self._rates = [rate for rate in (self._images, self._bytes) if rate is not None]
        limit = None if rules.concurrent_bytes is None else int(rules.concurrent_bytes * share)
        if limit is None and self._rates:
            limit = rated_bytes
        # A reserve protects callers from each other; the limit of one caller is exact.
        self.in_flight = None if limit is None else MemoryBudget(max(1, limit), has_reserve=False)
        """Counts the bytes of its requests that are not answered; None without a limit."""

    def continue_from(self, before: "AccessCaller") -> None:
        """Keep what the same caller of the policy before has used."""
        for new, old in ((self._images, before._images), (self._bytes, before._bytes)):
            if new is not None and old is not None:
                new.continue_from(old)
        if self.in_flight is not None and before.in_flight is not None:
            # The calls in progress release their bytes there.
            before.in_flight.limit = self.in_flight.limit
            self.in_flight = before.in_flight

    # Rights

    def check_call(self, path: str) -> None:
        """Check that it may call an RPC, and that it is within its rates.

        Raises:
            PermissionDeniedError: It may not call it.
            CallerLimitError: It is over a rate.
        """
        if path not in self.rules.paths:
            self.on_denied("rpc")
            raise PermissionDeniedError(
                f"the caller {self.name!r} may not call {path.rpartition('/')[2]}; the server's "
                "operator can allow it in the policy"
            )
        if self._rates and path in RATED:
            self._check(*self._rates)

    def may_use(self, model: str) -> bool:
        """Return whether it may use a model."""
        if self._has_all_models or model in self._names:
            return True
        return any(fnmatchcase(model, pattern) for pattern in self._patterns)

    def check_model(self, model: str) -> None:
        """Check that it may use a model; a request that names none has another error.

        Raises:
            PermissionDeniedError: It may not, whether or not the model exists.
        """
        if model and not self.may_use(model):
            self.on_denied("model")
            shown = repr(model if len(model) <= 80 else model[:80] + "…")
            raise PermissionDeniedError(
                f"the caller {self.name!r} may not use a model named {shown}; the server's "
                "operator can allow it in the policy"
            )

    # Rates

    def wait_seconds(self) -> float:
        """Return how long its next message has to wait; 0 if it is within its rates."""
        return max((rate.wait_seconds() for rate in self._rates), default=0.0)

    def take_bytes(self, size: int) -> None:
        """Count the bytes of a request.

        Raises:
            CallerLimitError: It is over its bytes per second.
        """
        if self._bytes is not None:
            self._check(self._bytes)
            self._bytes.take(size)

    def take_images(self, count: int) -> None:
        """Count the images of a request.

        Raises:
            CallerLimitError: It is over its images per second.
        """
        if self._images is not None:
            self._check(self._images)
            self._images.take(count)

    def add_images(self, count: int) -> None:
        """Count further images of a request whose own images are counted."""
        if self._images is not None:
            self._images.take(count)

    def over_concurrent_bytes(self) -> CallerLimitError:
        """Return the error of a call whose bytes don't fit into what it may have in flight."""
        self.on_denied("concurrent_bytes")
        limit = 0 if self.in_flight is None else self.in_flight.limit
        return CallerLimitError(
            f"the caller {self.name!r} has more than its {limit:,} concurrent bytes in requests; "
            "wait for replies before sending more",
            PUSHBACK_MS,
        )

    def _check(self, *rates: Rate) -> None:
        for rate in rates:
            wait = rate.wait_seconds()
            if wait > 0:
                self.on_denied("rate")
                what = "images" if rate is self._images else "bytes"
                milliseconds = int(1000 * wait) + 1
                raise CallerLimitError(
                    f"the caller {self.name!r} is over its {rate.per_second:,.10g} {what} per "
                    f"second; retry after {milliseconds:,} ms",
                    milliseconds,
                )
