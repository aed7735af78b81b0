"""ONNX files to networks: own reader, standard ops, both exporters of torch.

bytes → `graph` (checked names, numbers, arrays) → `plan` (sizes told from data, constants into parameters) →
`interpreter` (torch functions, node by node) → `torch.export` → a plain graph of ATen ops.
"""

from worker.formats.onnx.importer import read_onnx

__all__ = ["read_onnx"]
