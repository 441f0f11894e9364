"""The model in forms that launch fewer kernels from Python: compiled by torch, or exported and run by onnxruntime."""
