"""A file under Zstandard: where zeros take no room."""

from pathlib import Path

import zstandard

__all__ = ["compress"]

_READ_BYTES = 1 << 20
# (size up to which, level): the higher levels take minutes per gigabyte and win per cents.
_LEVELS = ((64 << 20, 19), (512 << 20, 12))
_LOWEST_LEVEL = 6


def compress(source: Path, target: Path) -> None:
    """Write `source` to `target` in a form that `zstd -d` reads: one frame with content size and checksum.

    The same file gives the same bytes.
    """
    size = source.stat().st_size
    level = next((level for most, level in _LEVELS if size <= most), _LOWEST_LEVEL)
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
    with source.open("rb") as read, target.open("wb") as written:
        compressor.copy_stream(read, written, size=size, read_size=_READ_BYTES, write_size=_READ_BYTES)
