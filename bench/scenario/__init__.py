"""Scenarios: a network measured as it is used, by arrival times and not one call after another."""
