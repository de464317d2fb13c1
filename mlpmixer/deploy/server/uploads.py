"""From a request to pictures' bytes, in memory and within limits; no client's word is trusted."""

from collections.abc import AsyncGenerator
from typing import NamedTuple

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from mlpmixer.deploy.server.limits import Limits
from mlpmixer.deploy.server.problems import Problem
from mlpmixer.formatting import printable, shortened

_LONGEST_NAME = 200
_UNSPECIFIC = ("application/octet-stream", "application/x-www-form-urlencoded")
"""What programs send that were not told what it is; the second one is `curl --data-binary`'s."""


class Upload(NamedTuple):
    """A picture that a client sent."""

    name: str
    """What the client calls it; for answers alone, never for a path."""
    content: bytes


async def read_uploads(request: Request, limits: Limits) -> list[Upload]:
    """Return the pictures of a request: a multipart form's files, or its whole body as one.

    Raises:
        Problem: the body is too large, empty, damaged, or of a kind that holds no pictures.
    """
    body = await _body(request, limits.body_bytes)
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0]
    kind = kind.strip().lower()
    if kind == "multipart/form-data":
        return await _files(request, body, limits)
    if kind not in _UNSPECIFIC and not kind.startswith("image/"):
        raise Problem(
            415,
            f"{shortened(printable(kind), 60)} holds no pictures: send the image itself "
            "(image/*), or files by multipart/form-data.",
        )
    if not body:
        raise Problem(400, "the body is empty: send an image.")
    return [Upload("the image", body)]


async def _body(request: Request, most: int) -> bytes:
    too_large = Problem(413, f"the body is larger than {most / 1e6:g} MB.")
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said) > most:
        raise too_large
    body = bytearray()
    try:
        async for part in request.stream():
            if len(body) + len(part) > most:
                raise too_large
            body += part
    except ClientDisconnect:
        raise Problem(400, "the client left before the body was complete.") from None
    return bytes(body)


class _InMemory(MultiPartParser):
    """The parser, that never writes to the disk: a body is within its limit already."""

    spool_max_size = 1 << 40


async def _files(request: Request, body: bytes, limits: Limits) -> list[Upload]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    parser = _InMemory(request.headers, stream(), max_files=limits.files, max_fields=limits.files)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Problem(400, f"the form cannot be read: {error.message.rstrip('.')}.") from None
    except (KeyError, ValueError) as error:  # no boundary, or a damaged one
        raise Problem(400, "the form cannot be read: its boundary is missing.") from error
    found = []
    for _, value in form.multi_items():
        if isinstance(value, UploadFile):
            name = shortened(printable(value.filename or "a file"), _LONGEST_NAME)
            found.append(Upload(name, await value.read()))
    await form.close()
    if not found:
        raise Problem(400, "the form has no file: send pictures as files, not as fields.")
    return found
