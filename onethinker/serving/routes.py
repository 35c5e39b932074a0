"""The routes that ask: our own, OpenAI's, a drawn answer, and Label Studio's."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from onethinker.core.suffixes import WRITTEN_VIDEO
from onethinker.families.folder import TOLD_SETTINGS, ModelSettings
from onethinker.serving.answering import Answered, Answering, Asked, BusyError
from onethinker.serving.chat import Completion, asked_in
from onethinker.serving.drawing import drawn_file
from onethinker.serving.label_studio import asked_about, fitted, result_of
from onethinker.serving.metrics import Metrics
from onethinker.serving.reading import read_body, read_question, read_with_media
from onethinker.serving.refusals import RefusedError, refusing
from onethinker.serving.replies import event, reply_of
from onethinker.serving.running import CLIENT_GONE, Running
from onethinker.serving.schemas import AskBody, ChatBody, DrawBody, PredictBody, read_json
from onethinker.serving.splitting import Splitter
from onethinker.serving.uploads import Slot, Sources

EVENTS = "text/event-stream"
EVENT_HEADERS = {"X-Accel-Buffering": "no"}
"""Tells nginx to hand events on as they come."""


class Routes:
    """What is asked over HTTP, answered by the models of a server; the first answers where none is named."""

    def __init__(self, models: Mapping[str, Answering], sources: Sources, metrics: Metrics) -> None:
        self._models, self.sources, self.metrics = models, sources, metrics
        self.model, self.answering = next(iter(models.items()))

    async def models(self) -> dict[str, Any]:
        """Return the models, as OpenAI lists its own."""
        return {"object": "list", "data": [_listed(*each) for each in self._models.items()]}

    async def one_model(self, name: str) -> dict[str, Any]:
        """Return the model of a name."""
        return _listed(name, self._find(name))

    async def ask(self, request: Request) -> Response:
        """Answer a question about pictures and videos, sent as JSON or as a form with files."""
        with self._admitted() as slot:
            asked, body = await read_question(request, slot, self.sources)
            running = Running(self._find(body.model), asked, slot, request)
        if body.stream:
            return StreamingResponse(self._events(running, body), media_type=EVENTS, headers=EVENT_HEADERS)
        answered = await self._answer(running)
        reply = await asyncio.to_thread(reply_of, answered, guessed=body.task is None, files=body.files)
        return JSONResponse(reply)

    async def chat(self, request: Request) -> Response:
        """Answer the last question of a chat, as OpenAI's API does."""
        with self._admitted() as slot:
            body, asked = await asyncio.to_thread(self._read_chat, await read_body(request), slot)
            running = Running(self._find(body.model), asked, slot, request)
        completion = Completion(body, asked, body.model or self.model)
        if body.stream:
            return StreamingResponse(completion.chunks(running, self._answer), media_type=EVENTS, headers=EVENT_HEADERS)
        return JSONResponse(completion.whole(await self._answer(running)))

    async def draw(self, request: Request) -> Response:
        """Return a picture or clip with an answer drawn in; no model is asked."""
        with self._admitted() as slot:
            body, paths = await read_with_media(request, slot, self.sources, DrawBody)
            file = await drawn_file(self.answering, paths, body, slot)
            content = await asyncio.to_thread(file.read_bytes)
        self.answering.release(slot)
        return Response(content, media_type="video/mp4" if file.suffix == WRITTEN_VIDEO else "image/png")

    async def set_up(self) -> dict[str, Any]:
        """Tell Label Studio, which names its project here, which model makes its suggestions."""
        return {"model_version": self.model}

    async def predict(self, request: Request) -> dict[str, Any]:
        """Return suggestions for tasks of Label Studio: boxes, tracks, spans and words; none for one that is refused.

        Raises: RefusedError: that of the first task, where all are refused; one that is not about its task.
        """
        with refusing():
            body = read_json(await read_body(request), PredictBody)
        results, refusals = list[list[dict[str, Any]]](), list[RefusedError]()
        for task in body.tasks:
            try:
                results.append(fitted(await self._suggestion(request, task.data), body.label_config))
            except RefusedError as refusal:
                if refusal.status in (429, CLIENT_GONE) or refusal.status >= 500:
                    raise
                results.append([])
                refusals.append(refusal)
        if refusals and len(refusals) == len(body.tasks):
            raise refusals[0]
        named = [{"model_version": self.model, "result": result} for result in results]
        return {"results": named, "model_version": self.model}

    async def _suggestion(self, request: Request, data: Mapping[str, Any]) -> list[dict[str, Any]]:
        with self._admitted() as slot:
            asked = await asyncio.to_thread(asked_about, data, self.sources, slot)
            running = Running(self.answering, asked, slot, request)
        answered = await self._answer(running)
        with refusing(slot):
            return result_of(answered)

    def _read_chat(self, content: bytes, slot: Slot) -> tuple[ChatBody, Asked]:
        body = read_json(content, ChatBody)
        self._find(body.model)  # before any file of it is written
        return body, asked_in(body, self.sources, slot)

    async def _answer(self, running: Running) -> Answered:
        answered = await running.result()
        self.metrics.answered(answered)
        return answered

    async def _events(self, running: Running, body: AskBody) -> AsyncIterator[bytes]:
        """Yield events "thinking" and "answer" with pieces of text, then "done" with the reply, or "error"."""
        splitter = Splitter()
        try:
            async for text in running.pieces():
                for piece in splitter.add(text):
                    yield event(piece.part, {"text": piece.text})
                if not text:
                    yield b": waiting\n\n"
            for piece in splitter.finish():
                yield event(piece.part, {"text": piece.text})
            answered = await self._answer(running)
        except RefusedError as refusal:
            if refusal.status != CLIENT_GONE:
                yield event("error", refusal.record())
            return
        yield event("done", await asyncio.to_thread(reply_of, answered, guessed=body.task is None, files=body.files))

    @contextmanager
    def _admitted(self) -> Iterator[Slot]:
        """Yield a slot that is given back where the block raises; else the work that it started does so."""
        try:
            slot = self.answering.admit()
        except BusyError as error:
            raise RefusedError(429, str(error), {"Retry-After": str(error.retry_s)}) from error
        try:
            with refusing(slot):
                yield slot
        except BaseException:
            self.answering.release(slot)
            raise

    def _find(self, name: str | None) -> Answering:
        """Return the model of a name, the first for None. Raises: RefusedError: there is none."""
        if name is None:
            return self.answering
        if name not in self._models:
            raise RefusedError(
                404, f"there is no model {name[:100]!r} here; there is {', '.join(map(repr, self._models))}"
            )
        return self._models[name]


def _listed(name: str, answering: Answering) -> dict[str, Any]:
    engine = answering.thinker.engine
    settings = ModelSettings(
        prompt_template=engine.prompt_template,
        budget=engine.budget,
        coordinates=answering.thinker.counts_in,
    )
    told = {TOLD_SETTINGS: settings.model_dump(mode="json", exclude={"base", "seed"})}
    return {"id": name, "object": "model", "created": 0, "owned_by": "onethinker", **told}
