"""Conditional requests (RFC 9110), preferences (RFC 7240) and digests (RFC 9530)."""

import base64
import binascii
import re

from service.errors import InvalidHeader

__all__ = ["digest_header", "etag_matches", "expected_sha256", "preferred_wait"]

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)
_SHA256 = re.compile(r"(?:^|,)\s*sha-256\s*=\s*([^,;\s]*)", re.IGNORECASE)


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """Whether `If-None-Match` names this entity tag (weak comparison), or any."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


def preferred_wait(prefer: str | None) -> int | None:
    """The seconds of `Prefer: wait=N`. A preference that is not understood is ignored, as the RFC wants."""
    found = _WAIT.search(prefer or "")
    return int(found.group(1)) if found else None


def digest_header(sha256: str) -> str:
    """`Repr-Digest` of a digest in hex."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def expected_sha256(repr_digest: str | None) -> str | None:
    """The SHA-256 that a client promises, in hex. Other algorithms are passed over.

    Raises:
        InvalidHeader: The value is not a SHA-256 between colons in base 64.
    """
    found = _SHA256.search(repr_digest or "")
    if found is None:
        return None
    value = found.group(1)
    try:
        if not (value.startswith(":") and value.endswith(":")):
            raise ValueError
        digest = base64.b64decode(value.strip(":"), validate=True)
        if len(digest) != 32:
            raise ValueError
    except (ValueError, binascii.Error):
        raise InvalidHeader(
            f"Repr-Digest has sha-256={value[:100]}, which is not :<32 bytes in base 64>:. Compute it with "
            "`openssl dgst -sha256 -binary FILE | base64`."
        ) from None
    return digest.hex()
