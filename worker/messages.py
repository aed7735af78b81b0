"""What a child process may say to its parent, one JSON object per message.

The child has read untrusted bytes, so the parent trusts nothing it says: no pickles, bounded sizes, checked shapes.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from service.contract.resources import EventLevel
from worker.order import Plain

__all__ = ["MAX_BYTES", "Crashed", "Done", "Event", "Failed", "Message", "Progress", "Stage", "Warned", "read"]

# The profile of a model with 50 000 ops is the largest thing a child has to say, a few megabytes.
MAX_BYTES = 64 * 1024 * 1024

Slug = Annotated[str, Field(max_length=100)]
Line = Annotated[str, Field(max_length=20_000)]


class Stage(Plain):
    kind: Literal["stage"] = "stage"
    name: Slug


class Progress(Plain):
    kind: Literal["progress"] = "progress"
    fraction: Annotated[float, Field(ge=0, le=1)]
    message: Line


class Event(Plain):
    kind: Literal["event"] = "event"
    type: Slug
    message: Line
    data: dict[str, Any]
    level: EventLevel


class Warned(Plain):
    kind: Literal["warned"] = "warned"
    code: Slug
    detail: Line


class Done(Plain):
    """The last word of a child that succeeded. `outcome` is checked against the model that the order asks for."""

    kind: Literal["done"] = "done"
    outcome: dict[str, Any]


class Failed(Plain):
    """The last word of a child that raised a `JobFailed`."""

    kind: Literal["failed"] = "failed"
    code: Annotated[str, Field(pattern="^[a-z-]{1,100}$")]
    title: Line
    detail: Line
    retryable: bool


class Crashed(Plain):
    """The last word of a child that raised anything else. The traceback goes to the log, never to a client."""

    kind: Literal["crashed"] = "crashed"
    traceback: str


Message = Annotated[Stage | Progress | Event | Warned | Done | Failed | Crashed, Field(discriminator="kind")]

_message: TypeAdapter[Message] = TypeAdapter(Message)


def read(raw: bytes) -> Message:
    """Parse one message. Raises ValueError where it is none, without repeating what was sent."""
    try:
        return _message.validate_json(raw)
    except ValidationError as error:
        what = f"{len(raw)} bytes that are no message ({error.error_count()} errors)"
        raise ValueError(f"the child sent {what}") from None
