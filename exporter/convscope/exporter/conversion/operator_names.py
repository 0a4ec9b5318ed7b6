"""The names in ONNX of PyTorch's operators and functions."""

__all__ = ["onnx_name"]

# PyTorch's operators by their names in ONNX.
_ONNX = {
    "Identity": ("clone", "alias", "detach", "lift_fresh", "contiguous"),
    "Cast": ("_to_copy", "to", "float", "double", "half", "type_as"),
    "Reshape": ("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "ravel"),
    "Squeeze": ("squeeze",),
    "Unsqueeze": ("unsqueeze",),
    "Gemm": ("addmm", "linear"),
    "MatMul": ("mm", "bmm", "baddbmm", "matmul", "addbmm", "mv"),
    "Conv": ("convolution", "conv1d", "conv2d", "conv3d"),
    "Einsum": ("einsum",),
    "Add": ("add", "__radd__"),
    "Sub": ("sub", "rsub", "subtract"),
    "Mul": ("mul", "multiply", "__rmul__"),
    "Div": ("div", "true_divide", "divide", "__rdiv__", "__rtruediv__"),
    "Reciprocal": ("reciprocal",),
    "Neg": ("neg", "negative"),
    "Exp": ("exp",),
    "Log": ("log",),
    "BatchNormalization": (
        *("native_batch_norm", "_native_batch_norm_legit", "batch_norm"),
        "_native_batch_norm_legit_no_training",
    ),
    "AveragePool": ("avg_pool1d", "avg_pool2d", "avg_pool3d"),
    "GlobalAveragePool": (
        *("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
        *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
    ),
    "MaxPool": ("max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool2d"),
    "GlobalMaxPool": ("adaptive_max_pool2d", "adaptive_max_pool3d"),
    "ReduceMean": ("mean",),
    "ReduceSum": ("sum",),
    "ReduceMax": ("amax", "max"),
    "Relu": ("relu",),
    "LeakyRelu": ("leaky_relu",),
    "PRelu": ("_prelu_kernel", "prelu"),
    "Transpose": ("transpose", "permute", "t", "movedim", "join_batch"),
    "Expand": ("expand",),
    "Slice": ("slice", "select", "narrow", "__getitem__"),
    "Split": ("split", "split_with_sizes", "chunk", "unbind"),
    "Gather": ("index_select", "gather", "index"),
    "Softmax": ("_softmax", "softmax", "_safe_softmax"),
    "LogSoftmax": ("_log_softmax", "log_softmax"),
    "Sigmoid": ("sigmoid", "special_expit", "expit"),
    "Clip": ("clamp", "clip", "clamp_min", "clamp_max"),
    "ReduceLogSumExp": ("logsumexp",),
}
_NAMES = {own: name for name, owns in _ONNX.items() for own in owns}


def onnx_name(own: str, *, divides_constant: bool = False, same_size: bool = False) -> str:
    """Return the name in ONNX of an operator or function of PyTorch.

    Args:
        own: Its name in PyTorch.
        divides_constant: Whether its first argument doesn't depend on the image.
        same_size: Whether its result has as many elements as its first argument.
    """
    name = own.rstrip("_") if own.endswith("_") and not own.endswith("__") else own
    name = _NAMES.get(name, name)
    if name == "Div" and divides_constant:
        return "Reciprocal"
    return "Reshape" if name == "Slice" and same_size else name
