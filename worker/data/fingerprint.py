"""What a sample is known by: the SHA-256 of its content."""

import hashlib

import numpy as np
import numpy.typing as npt

from worker.data.dataset import Dataset

__all__ = ["Digests", "are_disjoint", "fingerprints", "split_digest"]

Digests = npt.NDArray[np.bytes_]

# Rows made contiguous at a time: bounds the copy that a memory-mapped or transposed array needs.
_CHUNK = 4096


def fingerprints(dataset: Dataset) -> Digests:
    """The hexadecimal SHA-256 of every sample, (N,) of dtype `S64`.

    Hashed are the bytes of the sample in all arrays, in the order of their names. Labels are left out on purpose: the
    same image under two labels is still the same image, and must not sit on both sides of a split.
    """
    names = sorted(dataset.arrays)
    digests = np.empty(len(dataset), dtype="S64")
    for start in range(0, len(dataset), _CHUNK):
        stop = min(start + _CHUNK, len(dataset))
        parts = [_bytes_per_sample(dataset.arrays[name][start:stop]) for name in names]
        digests[start:stop] = [hashlib.sha256(b"".join(sample)).hexdigest() for sample in zip(*parts, strict=True)]
    return digests


def split_digest(digests: Digests) -> str:
    """The SHA-256 of a set of samples: of their hexadecimal digests, sorted, one per line."""
    lines = b"".join(digest + b"\n" for digest in np.sort(digests).tolist())
    return hashlib.sha256(lines).hexdigest()


def are_disjoint(*splits: Digests) -> bool:
    """Whether no content is in two of the splits; within a split it may occur twice."""
    distinct = [np.unique(digests) for digests in splits]
    return len(np.unique(np.concatenate(distinct))) == sum(map(len, distinct))


def _bytes_per_sample(samples: npt.NDArray[np.generic]) -> list[memoryview]:
    contiguous = np.ascontiguousarray(samples)
    width = contiguous.nbytes // len(contiguous)
    flat = memoryview(contiguous.reshape(-1).view(np.uint8).data)
    return [flat[row * width : (row + 1) * width] for row in range(len(contiguous))]
