"""Settings of the inference pipelines: queues, batches, and the limits of inputs."""

from dataclasses import dataclass

from convscope.server.inference.decoding.image_limits import ImageLimits
from convscope.server.inference.pipeline_limits import PipelineLimits

__all__ = ["InferenceSettings"]


@dataclass(frozen=True, kw_only=True)
class InferenceSettings:
    """The limits of requests on their way to a result.

    Args:
        max_queue: Images of one model that may wait, fewer of large ones.
        max_delay_seconds: How long a free runner waits for a fuller batch.
        max_inputs: Inputs of one request.
        max_image_pixels: Pixels of one image.
        max_image_side: Pixels of an image's longer edge.
        decode_threads: Images of one model decoded at once, fewer of large ones; 0 for one
            per core.
    """

    max_queue: int = 256
    max_delay_seconds: float = 0.0
    max_inputs: int = 64
    max_image_pixels: int = 16_000_000
    max_image_side: int = 8192
    decode_threads: int = 0

    @property
    def image_limits(self) -> ImageLimits:
        """The limits of one image."""
        return ImageLimits(self.max_image_pixels, self.max_image_side)

    def pipeline_limits(self, cores: int) -> PipelineLimits:
        """Return the limits of one version's pipeline.

        Args:
            cores: The cores that this process may use.
        """
        return PipelineLimits(self.max_queue, self.max_delay_seconds, self.decode_threads or cores)
