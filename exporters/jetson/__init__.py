"""Build bundles for Jetson: graphs that a JetPack takes, and what builds and proves them there."""
