"""What sensors tell at one moment, by part."""

from __future__ import annotations

from medge.profiles.sensors.chain import Sensors


def told(sensors: Sensors, quantity: str) -> dict[str, float | None]:
    """Return the values of one quantity by part."""
    return {
        channel.part: value
        for channel, value in zip(sensors.channels, sensors.read(), strict=True)
        if channel.quantity == quantity
    }
