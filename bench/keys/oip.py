"""Compare the Open Inference Protocol with ClassifierService on the same port."""

from functools import partial

from bench.bundles import repository
from bench.context import Bench
from bench.photos import digit, tensor_message
from bench.registry import Measured, measurement
from bench.sampling import Sample
from bench.servers import CLASSIFY, serving
from convscope.open_inference import open_inference_pb2 as pb

INFER = "inference.GRPCInferenceService/ModelInfer"
IN_FLIGHT = 64
SHAPE = (28, 28, 1)
# Many short turns, so that a slow phase of the machine affects both sides of a pair.
TURNS = 5


@measurement("oip_vs_own")
def oip_vs_own(bench: Bench) -> Measured:
    """Measure digits calls per second of ModelInfer, relative to Classify, in short turns."""
    calls = {
        "own": (CLASSIFY, tensor_message("digits", digit(), SHAPE)),
        "probabilities": (INFER, _infer_message("probabilities")),
        "all_outputs": (INFER, _infer_message()),
    }
    with serving(repository(bench, "digits"), tuning_cache=bench.tuning_cache) as server:

        def speed(method: str, message: bytes) -> Sample:
            return server.saturate(
                message,
                bench.scratch,
                in_flight=IN_FLIGHT,
                seconds=1.0,
                warm_up=0.3,
                method=method,
            ).rate()

        sides = {name: partial(speed, *call) for name, call in calls.items()}
        samples = bench.interleave(TURNS, **sides)
    return Measured(
        {
            f"oip_vs_own.{name}": samples.ratio(name, "own")
            for name in ("probabilities", "all_outputs")
        },
        {"calls_per_second": samples.details()},
    )


def _infer_message(*outputs: str) -> bytes:
    """Serialize a ModelInferRequest. Without `outputs` it requests all outputs."""
    request = pb.ModelInferRequest(model_name="digits", raw_input_contents=[digit()])
    request.inputs.add(name="images", datatype="UINT8", shape=(1, *SHAPE))
    for name in outputs:
        request.outputs.add(name=name)
    return request.SerializeToString()
