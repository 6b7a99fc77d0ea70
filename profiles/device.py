"""The machine medge runs on: each fact with where it was read."""
