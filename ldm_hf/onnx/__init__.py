"""A model exported to ONNX for one environment, and the agent that runs it without torch and transformers."""

from .agent import OnnxAgent

__all__ = ["OnnxAgent"]
