"""A check, before anything is loaded, that the execution providers are available."""

import onnxruntime as ort

from convscope.server.errors import BundleRejectedError, StartError
from convscope.server.runtime.providers.policy import ProviderPolicies

__all__ = ["check_available"]


def check_available(policies: ProviderPolicies) -> None:
    """Check that ONNX Runtime has the providers of --provider.

    Models with their own providers are checked when they load: the server may not have them.

    Raises:
        StartError: One is missing, and --allow-fallback is not set.
    """
    if policies.models or policies.default.is_auto:
        return
    try:
        policies.default.candidates(ort.get_available_providers())
    except BundleRejectedError as error:
        raise StartError(f"--provider {','.join(policies.default.preference)}: {error}") from error
