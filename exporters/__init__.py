"""Exporters: from a trained network to a bundle, at a desk, where torch and onnx are installed."""
