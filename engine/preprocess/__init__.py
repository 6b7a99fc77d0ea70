"""From a frame's stored values to the network's input tensor, as the bundle's spec says."""

from medge.engine.preprocess.preprocessor import Preprocessor

__all__ = ["Preprocessor"]
