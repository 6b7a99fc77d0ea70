"""Matrices: many ways to run many networks, each measured in a process of its own."""
