"""A version that passed every gate."""

from dataclasses import dataclass
from functools import cached_property

from convscope.server.frontend.reply_limits import label_bytes
from convscope.server.inference.decoding.preprocessor import Preprocessor
from convscope.server.runtime.execution import Execution
from convscope.server.runtime.model import Model
from convscope.v1 import manifest_pb2 as pb

__all__ = ["LoadedVersion"]


@dataclass(frozen=True, eq=False)
class LoadedVersion:
    """A version that passed every gate.

    Args:
        model: Its sessions.
        preprocessor: Brings an encoded image to its input; None for tensors.
    """

    model: Model
    preprocessor: Preprocessor | None

    @property
    def manifest(self) -> pb.ModelManifest:
        """The manifest of its bundle."""
        return self.model.manifest

    @property
    def execution(self) -> Execution:
        """How it is run."""
        return self.model.execution

    @property
    def memory_bytes(self) -> int:
        """Roughly how much memory its sessions take."""
        return self.model.memory_bytes

    @property
    def is_outdated(self) -> bool:
        """Whether the same files could now run on a better provider."""
        return self.model.is_outdated

    # Read once: a protobuf field is slow to look into, call after call.

    @cached_property
    def key(self) -> tuple[str, int]:
        """The model's name and the version."""
        return self.manifest.model, self.manifest.version

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The name of each class."""
        return tuple(self.manifest.labels)

    @cached_property
    def label_bytes(self) -> tuple[int, ...]:
        """The most bytes that the names of no class, of one, of two and so on can take."""
        return label_bytes(self.labels)

    @cached_property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the graph's input, without the batch dimension."""
        return tuple(self.manifest.input.shape)
