"""Bodies of requests: JSON and forms, with their files on the disk."""

import asyncio
from pathlib import Path
from typing import TypeVar

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request

from onethinker.core.request import Turn
from onethinker.serving.answering import Asked
from onethinker.serving.refusals import RefusedError
from onethinker.serving.running import CLIENT_GONE
from onethinker.serving.schemas import AskBody, MediaBody, read_form, read_json
from onethinker.serving.uploads import Slot, Sources, keep_upload

MAX_FIELDS = 200
"""Of a form."""
Sent = TypeVar("Sent", bound=MediaBody)


async def read_question(request: Request, slot: Slot, sources: Sources) -> tuple[Asked, AskBody]:
    """Return the question of a request about its files. Raises: RefusedError, ConfigError, MediaError."""
    body, paths = await read_with_media(request, slot, sources, AskBody)
    asked = Asked(
        body.question,
        paths,
        task=body.task,
        box=body.box,
        options=body.options,
        turns=tuple(Turn(turn.question, turn.answer) for turn in body.earlier),
        before=body.before,
        masks=body.masks,
        sampling=body,
        max_new_tokens=body.max_new_tokens,
    )
    return asked, body


async def read_with_media(
    request: Request, slot: Slot, sources: Sources, kind: type[Sent]
) -> tuple[Sent, tuple[Path, ...]]:
    """Return a body of JSON or a form, and the files that it sends or names."""
    form = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if form == "multipart/form-data":
        body, paths = await _read_form(request, slot, sources, kind)
    elif form == "application/json":
        body, paths = await asyncio.to_thread(read_json, await read_body(request), kind), []
    else:
        raise RefusedError(415, f"expected application/json or multipart/form-data, got {form[:100]!r}")
    for word in body.media:
        paths.append(await asyncio.to_thread(sources.open, word, slot))
    return body, tuple(paths)


async def _read_form(request: Request, slot: Slot, sources: Sources, kind: type[Sent]) -> tuple[Sent, list[Path]]:
    """Return the fields of a form, and its files on the disk. Raises: RefusedError: it is no form."""
    fields, paths = [], list[Path]()
    try:
        async with request.form(max_files=sources.limits.media, max_fields=MAX_FIELDS) as form:
            for name, value in form.multi_items():
                if not isinstance(value, UploadFile):
                    fields.append((name, value))
                elif name != "media":
                    raise RefusedError(400, f"a file must be in the field media, got {name[:40]!r}")
                else:
                    paths.append(await asyncio.to_thread(keep_upload, value.file, value.filename or "", slot))
    except ClientDisconnect:
        raise RefusedError(CLIENT_GONE, "the client has disconnected") from None
    except (MultiPartException, HTTPException, ValueError, LookupError) as error:
        raise RefusedError(400, f"the form cannot be read: {getattr(error, 'detail', None) or error}") from error
    return read_form(fields, kind), paths


async def read_body(request: Request) -> bytes:
    """Return the whole body. Raises: RefusedError: the client is gone."""
    try:
        return await request.body()
    except ClientDisconnect:
        raise RefusedError(CLIENT_GONE, "the client has disconnected") from None
