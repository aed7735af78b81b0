"""Names of archive members. Nothing is ever extracted to disk: a strange name is still refused, as a sign of intent."""

__all__ = ["unsafe_path"]

_LONGEST = 1024


def unsafe_path(name: str) -> str | None:
    """Why a member must not have this name, as the end of a sentence; None for a plain relative path."""
    if not name:
        return "has no name"
    if len(name) > _LONGEST:
        return f"has a name of {len(name)} characters; at most {_LONGEST}"
    if not name.isprintable():
        return "has a name with control characters"
    if "\\" in name:
        return "has a backslash in its name"
    if name.startswith("/") or name[1:2] == ":":
        return "has an absolute name"
    if ".." in name.split("/"):
        return "leaves the archive by '..'"
    return None
