"""Reading a JSON body: bounded, strict, and with every error pointing at its field."""

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json
from starlette.requests import ClientDisconnect

from service.error_handlers import field_errors
from service.errors import BodyTooLarge, InvalidRequest, MalformedJson, UnsupportedMediaType, UploadInterrupted

__all__ = ["read_json"]

M = TypeVar("M", bound=BaseModel)

# Whole numbers up to here are exact in the floating point that other parsers read them with.
_EXACT = 2**53


async def read_json(request: Request, model: type[M], limit: int) -> M:
    """The body as a model.

    Types are taken as JSON Schema means them: 9.0 is an integer, while true and "9" are not numbers. NaN, Infinity and
    nesting beyond 200 levels are refused by the parser, unknown fields by the model.

    Raises:
        UnsupportedMediaType, BodyTooLarge, MalformedJson, InvalidRequest: In this order.
    """
    content_type = request.headers.get("content-type", "")
    media_type = content_type.split(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType(
            f"This route reads application/json, not {content_type or 'a body without Content-Type'}; "
            "with curl, use --json.",
            headers={"Accept": "application/json"},
        )
    body = await _read(request, limit)
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedJson(f"The body is not JSON: {error}.") from None
    try:
        return model.model_validate_json(to_json(_whole(value)), strict=True)
    except ValidationError as error:
        errors = field_errors(error.errors(include_url=False, include_context=False), body=True)
        named = ", ".join(dict.fromkeys(e.pointer for e in errors))
        raise InvalidRequest(f"The request is invalid at: {named}.", errors=errors) from None


async def _read(request: Request, limit: int) -> bytes:
    too_large = BodyTooLarge(f"A JSON body may have at most {limit} bytes.", headers={"Connection": "close"})
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
    except ClientDisconnect:
        raise UploadInterrupted("The connection ended before the whole body had arrived.") from None
    return bytes(body)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value
