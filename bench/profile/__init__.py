"""Profiles: what one bundle costs on this device, each candidate in a process of its own."""
