"""Every name of TensorRT's Python API that medge touches: what it stands on, in one table.

``tests/test_trt_surface.py`` holds the table to the code, and to TensorRT-RTX as it is installed;
``make contracts`` holds it to the published bindings of TensorRT 8.6, 10.3, 10.16 and 11.4.
"""

from __future__ import annotations

# In every release: class or enumeration, and what of it is used. "" is the module itself.
EVERYWHERE: dict[str, tuple[str, ...]] = {
    "": ("Builder", "ILogger", "IProfiler", "OnnxParser", "Runtime", "__version__"),
    "Builder": (
        "build_serialized_network",
        "create_builder_config",
        "create_network",
        "create_optimization_profile",
    ),
    "BuilderFlag": ("TF32",),
    "DataType": ("FLOAT", "HALF", "INT32", "UINT8"),
    "EngineInspector": ("execution_context", "get_engine_information"),
    "ErrorCode": ("INVALID_NODE", "MODEL_DESERIALIZE_FAILED", "UNSUPPORTED_NODE"),
    "IBuilderConfig": (
        "add_optimization_profile",
        "clear_flag",
        "create_timing_cache",
        "get_timing_cache",
        "profiling_verbosity",
        "set_flag",
        "set_memory_pool_limit",
        "set_timing_cache",
    ),
    "ICudaEngine": (
        "create_engine_inspector",
        "create_execution_context",
        "get_tensor_dtype",
        "get_tensor_mode",
        "get_tensor_name",
        "get_tensor_shape",
        "num_io_tensors",
    ),
    "IExecutionContext": (
        "execute_async_v3",
        "profiler",
        "set_input_shape",
        "set_tensor_address",
    ),
    "ILayer": ("get_output", "name", "num_outputs", "type"),
    "ILogger": ("WARNING",),
    "INetworkDefinition": (
        "get_input",
        "get_layer",
        "get_output",
        "num_inputs",
        "num_layers",
        "num_outputs",
    ),
    "IOptimizationProfile": ("set_shape",),
    "IProfiler": ("report_layer_time",),
    "ITensor": ("dtype", "name", "shape"),
    "ITimingCache": ("serialize",),
    "LayerInformationFormat": ("JSON",),
    "LayerType": ("CONVOLUTION", "DECONVOLUTION", "EINSUM", "MATRIX_MULTIPLY"),
    "MemoryPoolType": ("WORKSPACE",),
    "OnnxParser": ("get_error", "num_errors", "parse"),
    "ParserError": ("code", "desc"),
    "ProfilingVerbosity": ("DETAILED",),
    "Runtime": ("deserialize_cuda_engine",),
    "TensorIOMode": ("INPUT", "OUTPUT"),
}

# In some releases: the code asks whether it is there, or is on a path that only they take.
SOMEWHERE: dict[str, tuple[str, ...]] = {
    "": ("ComputeCapability", "DynamicShapesKernelSpecializationStrategy", "IRuntimeCache"),
    "BuilderFlag": ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"),
    "DynamicShapesKernelSpecializationStrategy": ("EAGER",),
    "ErrorCode": (
        "UNSUPPORTED_GRAPH",
        "UNSUPPORTED_NODE_ATTR",
        "UNSUPPORTED_NODE_DATATYPE",
        "UNSUPPORTED_NODE_DYNAMIC",
        "UNSUPPORTED_NODE_INPUT",
        "UNSUPPORTED_NODE_SHAPE",
    ),
    "IBuilderConfig": (
        "num_compute_capabilities",
        "set_compute_capability",
        "set_preview_feature",
    ),
    "ICudaEngine": ("create_runtime_config",),
    "IExecutionContext": ("is_stream_capturable",),
    "ILayer": ("get_input", "num_inputs", "precision"),
    "IRuntimeCache": ("deserialize", "serialize"),
    "IRuntimeConfig": (
        "create_runtime_cache",
        "dynamic_shapes_kernel_specialization_strategy",
        "set_runtime_cache",
    ),
    "LayerType": ("DEQUANTIZE", "FULLY_CONNECTED"),
    "NetworkDefinitionCreationFlag": ("EXPLICIT_BATCH", "STRONGLY_TYPED"),
    "ParserError": ("node_operator",),
    "PreviewFeature": ("PROFILE_SHARING_0806",),
}

# Where what is used only somewhere has to be: by the name and version of what brings it.
REQUIRED_OF: dict[str, dict[str, tuple[str, ...]]] = {
    "tensorrt 8": {
        "BuilderFlag": SOMEWHERE["BuilderFlag"],
        "IBuilderConfig": ("set_preview_feature",),
        "ILayer": SOMEWHERE["ILayer"],
        "LayerType": SOMEWHERE["LayerType"],
        "NetworkDefinitionCreationFlag": ("EXPLICIT_BATCH",),
        "PreviewFeature": ("PROFILE_SHARING_0806",),
    },
    "tensorrt 10": {
        "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
        "ParserError": ("node_operator",),
    },
    "tensorrt 11": {
        "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
        "ParserError": ("node_operator",),
    },
    "tensorrt_rtx 1": {
        "": SOMEWHERE[""],
        "DynamicShapesKernelSpecializationStrategy": ("EAGER",),
        "IBuilderConfig": ("num_compute_capabilities", "set_compute_capability"),
        "ICudaEngine": ("create_runtime_config",),
        "IExecutionContext": ("is_stream_capturable",),
        "IRuntimeCache": SOMEWHERE["IRuntimeCache"],
        "IRuntimeConfig": SOMEWHERE["IRuntimeConfig"],
        "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
        "ParserError": ("node_operator",),
    },
}


def required_of(name: str, version: str) -> dict[str, set[str]]:
    """Return all that a release must have: ``required_of("tensorrt", "10.3.0")``."""
    own = REQUIRED_OF[f"{name} {version.partition('.')[0]}"]
    kinds = {*EVERYWHERE, *own}
    return {kind: {*EVERYWHERE.get(kind, ()), *own.get(kind, ())} for kind in kinds}
