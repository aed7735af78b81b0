"""How a recipe that cannot work is refused."""

from service.contract.resources import FieldError

__all__ = ["Unresolvable", "escape", "refuse"]


class Unresolvable(Exception):
    """The recipe cannot work on this model and dataset. `code` is a problem slug."""

    def __init__(self, code: str, errors: list[FieldError]) -> None:
        super().__init__("; ".join(error.detail for error in errors))
        self.code = code
        self.errors = errors


def refuse(code: str, *errors: tuple[str, str]) -> Unresolvable:
    """The refusal of (JSON pointer, what is wrong and what to do) pairs."""
    return Unresolvable(code, [FieldError(pointer=pointer, detail=detail) for pointer, detail in errors])


def escape(token: str) -> str:
    """A JSON pointer token (RFC 6901 §3)."""
    return token.replace("~", "~0").replace("/", "~1")
