"""ONNX Runtime sessions, all opened alike."""

from pathlib import Path

import onnxruntime as ort

__all__ = ["PROVIDER", "open_session"]

PROVIDER = "CPUExecutionProvider"

_ERRORS_ONLY = 3


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """A session on the CPU with `threads` threads inside each op, ops one after the other."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    # Weights beside the arena of activations, which grows by doubling: a quarter of the memory of a large model.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return ort.InferenceSession(path, options, providers=[PROVIDER])
