"""A multipart body with one `file` part, streamed: no part is ever spooled to disk a second time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header

from service.errors import MalformedMultipart

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks  # exists for type checkers only

__all__ = ["FilePart"]


@dataclass
class FilePart:
    """The file in a multipart stream. `filename` is known once the first bytes came out of `chunks`."""

    content_type: str
    filename: str | None = None
    _out: list[bytes] = field(default_factory=list)
    _name: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _parts: int = 0
    _complete: bool = False
    _disposition: bytes = b""

    async def chunks(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The bytes of the file.

        Raises:
            MalformedMultipart: The format is broken, or there is not exactly one part, called `file`.
        """
        _, options = parse_options_header(self.content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise MalformedMultipart("Content-Type names no boundary.")
        try:
            parser = MultipartParser(boundary, self._callbacks())
            async for chunk in body:
                parser.write(chunk)
                taken, self._out = self._out, []
                for piece in taken:
                    yield piece
        except MultipartParseError as error:
            raise MalformedMultipart(f"The multipart body is malformed: {error}.") from None
        if not self._complete or self._parts == 0:
            raise MalformedMultipart("The multipart body ends before its last boundary.")

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_data,
            "on_part_data": lambda data, start, end: self._out.append(bytes(data[start:end])),
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise MalformedMultipart("The multipart body has several parts; send one, called 'file'.")

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _begin_data(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode(errors="replace")
        if name != "file":
            raise MalformedMultipart(f"The multipart body has a part called {name[:100]!r}; send one, called 'file'.")
        filename = options.get(b"filename", b"").decode(errors="replace")
        self.filename = filename.replace("\\", "/").rsplit("/", 1)[-1] or None

    def _end(self) -> None:
        self._complete = True
