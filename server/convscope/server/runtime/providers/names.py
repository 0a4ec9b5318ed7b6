"""The names of the providers and of their options, ours and ONNX Runtime's."""

from collections.abc import Mapping

from convscope.bundle.suggestions import or_near, shown

__all__ = [
    "AUTO",
    "CPU",
    "INSTALL",
    "ON_GPU",
    "OPTIONS",
    "PRECISIONS",
    "PROVIDERS",
    "START",
    "short_name",
    "unknown_provider",
]

CPU = "cpu"
# Instead of a provider's name: the fastest. Instead of a precision's: what the graph states, or,
# with the fastest provider, the fastest too.
AUTO = "auto"
# The precisions in which a provider can be told to compute the FP32 operations of a graph.
PRECISIONS = (AUTO, "fp32", "bf16", "fp16")

# Our short names, and ONNX Runtime's.
PROVIDERS: Mapping[str, str] = {
    CPU: "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_SHORT = {long: short for short, long in PROVIDERS.items()}

# The providers whose inputs and outputs are copied between host and GPU.
ON_GPU = frozenset({"cuda", "tensorrt"})

# How to install a provider that the present ONNX Runtime was built without ...
INSTALL: Mapping[str, str] = {
    "cuda": "in a clone of the repository, run: pip install '.[server-gpu]', in an environment "
    "without onnxruntime",
    "tensorrt": "in a clone of the repository, run: pip install '.[server-gpu]', in an environment "
    "without onnxruntime, and install TensorRT",
    "openvino": "in a clone of the repository, run: pip install '.[server-openvino]', in an "
    "environment without onnxruntime",
}
# ... and what to check if it was built with the provider, but the provider doesn't start. For
# those of a GPU, `cuda.py` finds the cause.
START: Mapping[str, str] = {
    "openvino": "check device_type and the other options of [providers.openvino]",
}

# Excluded are options that take an address in memory or bytes, which a file can't contain,
# options for decrypting engines, and trt_engine_cache_enable, which is always on. The names are
# those of the providers' libraries in onnxruntime-gpu 1.31.1 and onnxruntime-openvino 1.24.1:
# https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
# https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
# https://onnxruntime.ai/docs/execution-providers/OpenVINO-ExecutionProvider.html
OPTIONS: Mapping[str, frozenset[str]] = {
    CPU: frozenset(),
    "cuda": frozenset(
        {
            "arena_extend_strategy",
            "cudnn_conv1d_pad_to_nc1d",
            "cudnn_conv_algo_search",
            "cudnn_conv_use_max_workspace",
            "device_id",
            "do_copy_in_default_stream",
            "enable_cuda_graph",
            "enable_skip_layer_norm_strict_mode",
            "fuse_conv_bias",
            "gpu_mem_limit",
            "prefer_nhwc",
            "sdpa_kernel",
            "tunable_op_enable",
            "tunable_op_max_tuning_duration_ms",
            "tunable_op_tuning_enable",
            "use_ep_level_unified_stream",
            "use_tf32",
        }
    ),
    "tensorrt": frozenset(
        {
            "device_id",
            "trt_auxiliary_streams",
            "trt_bf16_enable",
            "trt_build_heuristics_enable",
            "trt_builder_optimization_level",
            "trt_context_memory_sharing_enable",
            "trt_cuda_graph_enable",
            "trt_detailed_build_log",
            "trt_dla_core",
            "trt_dla_enable",
            "trt_dump_ep_context_model",
            "trt_dump_subgraphs",
            "trt_engine_cache_path",
            "trt_engine_cache_prefix",
            "trt_engine_hw_compatible",
            "trt_ep_context_embed_mode",
            "trt_ep_context_file_path",
            "trt_extra_plugin_lib_paths",
            "trt_force_sequential_engine_build",
            "trt_force_timing_cache",
            "trt_fp16_enable",
            "trt_int8_calibration_table_name",
            "trt_int8_enable",
            "trt_int8_use_native_calibration_table",
            "trt_layer_norm_fp32_fallback",
            "trt_max_partition_iterations",
            "trt_max_workspace_size",
            "trt_min_subgraph_size",
            "trt_op_types_to_exclude",
            "trt_preview_features",
            "trt_profile_max_shapes",
            "trt_profile_min_shapes",
            "trt_profile_opt_shapes",
            "trt_sparsity_enable",
            "trt_tactic_sources",
            "trt_timing_cache_enable",
            "trt_timing_cache_path",
            "trt_weight_stripped_engine_enable",
        }
    ),
    "openvino": frozenset(
        {
            "cache_dir",
            "device_id",
            "device_luid",
            "device_type",
            "disable_dynamic_shapes",
            "enable_causallm",
            "enable_opencl_throttling",
            "enable_qdq_optimizer",
            "layout",
            "load_config",
            "model_priority",
            "num_of_threads",
            "num_streams",
            "precision",
            "reshape_input",
        }
    ),
}


def unknown_provider(name: str) -> str:
    """Return the message for a provider that doesn't exist."""
    near = "; did you mean cuda?" if name.lower() == "gpu" else or_near(name, PROVIDERS)
    return f"no execution provider {shown(name)}{near or ';'} the names are: {', '.join(PROVIDERS)}"


def short_name(provider: str) -> str:
    """Return our name of one of ONNX Runtime's providers, or its own name if we have none."""
    return _SHORT.get(provider, provider)
