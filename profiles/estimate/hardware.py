"""What of a target's specifications bears on latency, for one runtime and precision."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medge.profiles.estimate.runtimes import Setting
from medge.profiles.target import Target

PRECISIONS = ("fp32", "amp", "fp16", "int8")
"""``amp`` is fp16 products with fp32 sums kept where torch's autocast keeps them."""

CORES_PER_SM = {
    "3.5": 192, "3.7": 192, "5.0": 128, "5.2": 128, "5.3": 128, "6.0": 64, "6.1": 128, "6.2": 128,
    "7.0": 64, "7.2": 64, "7.5": 64, "8.0": 64, "8.6": 128, "8.7": 128, "8.9": 128, "9.0": 128,
}  # fmt: skip
"""FP32 lanes of one multiprocessor (CUDA C++ programming guide, table of arithmetic rates)."""
LANES = 128  # of what later GPUs and other makers have; Intel's Xe core has 128
BYTES = {"fp32": 4.0, "amp": 2.0, "fp16": 2.0, "int8": 1.0}


@dataclass(frozen=True, slots=True)
class Hardware:
    """Peak rates and sizes of one target as a runtime uses it.

    Parameters
    ----------
    kind
        ``gpu`` (a card with its own memory), ``jetson``, ``igpu`` (Intel's beside the cores),
        ``x86`` or ``arm``.
    flops_per_s, base_ratio
        In fp32 at the highest clock; logarithm of what is left at base clock.
    clock_ratio
        Logarithm of a card's stated boost clock over 1.5 GHz; 0 where the clock is kept.
    gains
        Name of a faster unit to the logarithm of its peak over fp32's.
    units
        Multiprocessors of a GPU, cores in use of a CPU.
    """

    kind: str
    architecture: str
    flops_per_s: float
    base_ratio: float
    clock_ratio: float
    bytes_per_s: float
    units: int
    lanes: float
    gains: dict[str, float]
    element_bytes: float
    share: float


class NotRunnableError(ValueError):
    """The target lacks what the estimate or the runtime needs; ``str`` is what to tell."""


def hardware_of(target: Target, precision: str, setting: Setting) -> Hardware:
    """Return the rates of a target for one precision and runtime.

    Raises
    ------
    NotRunnableError
        The target's peak rate or bandwidth is unknown, or the precision needs what it lacks.
    """
    if target.fp32_tflops is None or target.memory_bandwidth_gb_s is None:
        raise NotRunnableError("peak FLOP/s or memory bandwidth of the target is not known")
    build = _cpu if target.kind == "cpu" else _gpu
    return build(target, target.fp32_tflops, target.memory_bandwidth_gb_s, precision, setting)


def _gpu(
    target: Target, tflops: float, bandwidth: float, precision: str, setting: Setting
) -> Hardware:
    vendor_nvidia = target.vendor == "NVIDIA"
    kind = "gpu"
    if target.module is not None or (target.memory_gb is None and not vendor_nvidia):
        kind = "jetson" if vendor_nvidia else "igpu"
    base = target.fp32_tflops_at_base or tflops
    per_unit = CORES_PER_SM.get(target.compute_capability or "", LANES)
    return Hardware(
        kind=kind,
        architecture=target.architecture,
        flops_per_s=tflops * 1e12,
        base_ratio=min(0.0, math.log(base / tflops)),
        clock_ratio=math.log((target.boost_clock_mhz or 1500.0) / 1500.0) * (kind == "gpu"),
        bytes_per_s=bandwidth * 1e9,
        units=max(1, target.cores // per_unit),
        lanes=target.cores,
        gains=_gpu_gains(target, tflops, precision, setting),
        element_bytes=BYTES[precision],
        share=1.0,
    )


def _gpu_gains(target: Target, tflops: float, precision: str, setting: Setting) -> dict[str, float]:
    tensor = target.tensor_fp16_tflops
    ampere = tensor is not None and float(target.compute_capability or 0) >= 8
    # Since Ampere cuDNN and TensorRT compute fp32 convolutions as TF32, at half of fp16's rate.
    if precision == "fp32" and ampere and setting.runtime.id in ("pytorch", "tensorrt") and tensor:
        slow = target.tensor_fp16_fp32acc_tflops or tensor
        return {"tf32": math.log(max(1.0, slow / 2 / tflops))}
    if precision in ("fp16", "amp"):
        if tensor is not None and setting.runtime.id != "ncnn-vulkan":
            slow = target.tensor_fp16_fp32acc_tflops or tensor
            return {"tensor": math.log(slow / tflops), "accumulate": math.log(tensor / slow)}
        if setting.runtime.family in ("eager", "graph"):
            return {}  # fp16 tensors, products in fp32: cuDNN's pseudo-half
        return {"half": math.log(max(1.0, (target.fp16_tflops or tflops) / tflops))}
    if precision == "int8":
        return {"int8": math.log(max(1.0, (target.int8_tops or tflops) / tflops))}
    return {}


def _integer_gain(target: Target, tflops: float) -> dict[str, float]:
    if target.int8_tops is not None:
        unit = "amx" if "amx" in target.isa else "dot"
        return {unit: math.log(max(1.0, target.int8_tops / tflops))}
    if target.vendor in ("Intel", "AMD"):
        # Three instructions (PMADDUBSW, PMADDWD, PADDD) on two of three ports do the work of four
        # fused multiply-adds in fp32, of eight pairs where these are not fused (SSE).
        return {"madd": math.log(2.0 if "avx2" in target.isa else 2.7)}
    return {}


def _cpu(
    target: Target, tflops: float, bandwidth: float, precision: str, setting: Setting
) -> Hardware:
    sockets = 2 if target.name.startswith("2x ") else 1
    # OpenVINO's latency mode keeps to one socket: memory of the other is too far.
    used = 2 if sockets == 2 and setting.runtime.id != "openvino" else 1
    cores = max(1, target.cores * used // sockets)
    busy = min(setting.threads or cores, cores)
    share = busy / target.cores
    base = target.fp32_tflops_at_base or tflops
    gains: dict[str, float] = {}
    if precision == "int8":
        gains = _integer_gain(target, tflops)
    elif precision in ("fp16", "amp") and target.fp16_tflops:
        gains = {"half": math.log(target.fp16_tflops / tflops)}
    return Hardware(
        kind="arm" if "neon" in target.isa or target.vendor in ("ARM", "NVIDIA") else "x86",
        architecture=target.architecture,
        flops_per_s=tflops * 1e12 * share,
        base_ratio=min(0.0, math.log(base / tflops)),
        clock_ratio=0.0,
        bytes_per_s=bandwidth * 1e9 * used / sockets,
        units=busy,
        lanes=max(1.0, tflops * share * 1e6 / (2 * (target.boost_clock_mhz or 3000.0))),
        gains=gains,
        element_bytes=BYTES[precision],
        share=busy / cores,
    )
