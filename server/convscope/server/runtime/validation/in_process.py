"""Validates versions without a process of their own, for a server that its caller trusts."""

from collections.abc import Callable

from convscope.server.errors import BundleRejectedError
from convscope.server.observability.out_of_memory import is_out_of_memory
from convscope.server.runtime.validation.client import BundleValidator
from convscope.server.runtime.validation.examination import Examination, Findings

__all__ = ["InProcessValidator"]


class InProcessValidator(BundleValidator):
    """Validates versions in this process: at once, with all checks, and without limits."""

    def validate(
        self, examination: Examination, stopping: Callable[[], bool] = lambda: False
    ) -> Findings:
        """Examine a version.

        Raises:
            BundleRejectedError: The version failed a check.
            OSError: A file can't be read.
            MemoryError: Memory is short.
        """
        doing = "starting"

        def note(what: str) -> None:
            nonlocal doing
            doing = what

        try:
            return examination.run(note)
        except (BundleRejectedError, OSError):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise MemoryError from error
            raise BundleRejectedError(
                "unexpected", f"{doing} failed with {type(error).__name__}"
            ) from error
