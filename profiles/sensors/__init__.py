"""Sensors of this machine: clocks, temperature, power, throttling; and what they told over time."""

from medge.profiles.sensors.chain import Sensors, open_sensors
from medge.profiles.sensors.sampler import Cost, Sampler
from medge.profiles.sensors.trace import Channel, Trace

__all__ = ["Channel", "Cost", "Sampler", "Sensors", "Trace", "open_sensors"]
