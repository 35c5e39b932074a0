"""The program of `onethinker serve`: its routes, what stands before them, and what ends with it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from onethinker.core.errors import ConfigError
from onethinker.serving.answering import Answering, served_name
from onethinker.serving.guards import Access, Guard
from onethinker.serving.metrics import Metrics
from onethinker.serving.openapi import describe, described, swagger_file
from onethinker.serving.pages import example_file, examples, page_file
from onethinker.serving.refusals import RefusedError
from onethinker.serving.replies import tasks_schema
from onethinker.serving.routes import Routes
from onethinker.serving.schemas import AskBody, ChatBody, DrawBody, PredictBody
from onethinker.serving.uploads import Sources


class Shown:
    """What the server shows without asking a model."""

    def __init__(self, answering: Answering, metrics: Metrics, *, needs_key: bool) -> None:
        self.answering, self.metrics, self.needs_key = answering, metrics, needs_key
        self.model = served_name(answering.thinker)

    async def health(self) -> dict[str, Any]:
        """Say that the server listens, how much waits, and whether other routes want a key."""
        waiting = len(self.answering.slots)
        return {"status": "ok", "model": self.model, "in_flight": waiting, "needs_key": self.needs_key}

    async def page(self) -> Response:
        """Return the page."""
        return page_file("index.html")

    async def page_part(self, name: str) -> Response:
        """Return the page's script or style."""
        return page_file(name)

    async def docs(self) -> Response:
        """Return the page that shows the routes and tries them."""
        return page_file("docs.html")

    async def docs_part(self, name: str) -> Response:
        """Return a file of Swagger UI."""
        return swagger_file(name)

    async def examples(self) -> list[dict[str, Any]]:
        """Return the scenes that the page offers, each with a question."""
        return [each.about for each in await asyncio.to_thread(examples)]

    async def example(self, name: str) -> Response:
        """Return the picture or clip of a scene."""
        folder = self.answering.folder / "examples"
        folder.mkdir(exist_ok=True)
        return FileResponse(await asyncio.to_thread(example_file, name, folder))

    async def tasks(self) -> dict[str, Any]:
        """Return what can be asked, with JSON schemas."""
        return tasks_schema()

    async def tell_metrics(self) -> Response:
        """Return the counters in Prometheus' text format."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")


def make_app(answerings: Sequence[Answering], sources: Sources, access: Access) -> FastAPI:
    """Return the program that uvicorn serves; at its end the processes that decode are ended.

    The models share the queue of the first, which answers where none is named. Raises: ConfigError: two have one name.
    """
    answering, models = answerings[0], {served_name(each.thinker): each for each in answerings}
    if len(models) < len(answerings):
        raise ConfigError(f"--model and --beside are both {next(iter(models))!r}; choose another model for one of them")
    metrics = Metrics(lambda: len(answering.slots))
    shown = Shown(answering, metrics, needs_key=access.key is not None)
    routes = Routes(models, sources, metrics)

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        answering.decoders.warm_up()
        yield
        await asyncio.to_thread(answering.close)

    app = FastAPI(title="OneThinker", docs_url=None, redoc_url=None, lifespan=living)
    app.add_middleware(Guard, access=access, limits=answering.limits, on_done=metrics.done)
    _add_routes(app, shown, routes)
    told = describe(app)
    app.openapi = lambda: told  # type: ignore[method-assign]
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(Exception, _broken)
    return app


def _add_routes(app: FastAPI, shown: Shown, routes: Routes) -> None:
    """Say what is answered at which path."""
    asked_with_get: tuple[tuple[str, Callable[..., Any]], ...] = (
        ("/health", shown.health),
        ("/", shown.page),
        ("/page/{name}", shown.page_part),
        ("/docs", shown.docs),
        ("/docs/{name}", shown.docs_part),
        ("/v1/examples", shown.examples),
        ("/v1/examples/{name}", shown.example),
        ("/metrics", shown.tell_metrics),
        ("/v1/tasks", shown.tasks),
        ("/v1/models", routes.models),
        ("/v1/models/{name:path}", routes.one_model),
    )
    for path, function in asked_with_get:
        app.add_api_route(path, function, methods=["GET"], response_model=None)
    for path, handler, body in (
        ("/v1/ask", routes.ask, described(AskBody, as_form=True)),
        ("/v1/chat/completions", routes.chat, described(ChatBody)),
        ("/v1/draw", routes.draw, described(DrawBody, as_form=True)),
        ("/predict", routes.predict, described(PredictBody)),
        ("/setup", routes.set_up, {}),
    ):
        app.add_api_route(path, handler, methods=["POST"], response_model=None, openapi_extra=body)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return error.response()


async def _not_found(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return RefusedError(error.status_code, str(error.detail), error.headers).response()


async def _broken(_: Request, error: Exception) -> Response:
    """Answer a mistake of ours; what it is stands in the log alone."""
    return RefusedError(500, "internal error; the server's log has the details").response()
