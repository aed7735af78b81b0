"""Identifiers: a prefix that names the kind, then 26 characters that sort by time of creation."""

import secrets
import time
from typing import Literal

__all__ = ["new_id"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: Literal["mdl", "dts", "job", "req"]) -> str:
    """A ULID in lower case: 48 bits of milliseconds, 80 random bits, Crockford's base 32."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{prefix}_" + "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
