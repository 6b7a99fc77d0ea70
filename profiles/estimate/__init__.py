"""Latency of a network on hardware that is not at hand, with an interval that was tested."""

from medge.profiles.estimate.latency import (
    Abstention,
    LatencyEstimate,
    Measured,
    estimate_latencies,
    estimate_latency,
)
from medge.profiles.estimate.runtimes import RUNTIMES, Runtime, find_runtime

__all__ = [
    "RUNTIMES",
    "Abstention",
    "LatencyEstimate",
    "Measured",
    "Runtime",
    "estimate_latencies",
    "estimate_latency",
    "find_runtime",
]
