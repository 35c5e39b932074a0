"""What the routes look like to programs that read OpenAPI, and the page /docs that shows it without a CDN."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import FileResponse, Response

from onethinker.serving.refusals import RefusedError
from onethinker.serving.schemas import AskBody, ChatBody, DrawBody, PredictBody

REFERENCE = "#/components/schemas/{model}"
BODIES = (AskBody, ChatBody, DrawBody, PredictBody)
SWAGGER_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
"""Of the package fastapi-offline, which brings them along."""


def described(body: type[BaseModel], *, as_form: bool = False) -> dict[str, Any]:
    """Return what OpenAPI says of a route's body: JSON, and with `as_form` also a form with files."""
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": REFERENCE.format(model=body.__name__)}}}
    if as_form:
        content["multipart/form-data"] = {"schema": _form_schema(body)}
    return {"requestBody": {"required": True, "content": content}}


def _form_schema(body: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a form: those of the JSON, with files as media."""
    schema = body.model_json_schema(ref_template=REFERENCE)
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    return {
        "type": "object",
        "properties": {**schema["properties"], "media": files},
        "required": [*schema.get("required", []), "media"],
    }


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the routes of a program in OpenAPI's form, with the bodies that they read themselves."""
    told = get_openapi(title=app.title, version=app.version, routes=app.routes)
    _, bodies = models_json_schema([(body, "validation") for body in BODIES], ref_template=REFERENCE)
    told.setdefault("components", {}).setdefault("schemas", {}).update(bodies["$defs"])
    return told


def swagger_file(name: str) -> Response:
    """Return a file of Swagger UI. Raises: RefusedError: there is none of this name."""
    spec = find_spec("fastapi_offline")
    if name not in SWAGGER_FILES or spec is None or spec.origin is None:
        raise RefusedError(404, f"there is no file {name[:100]!r} of the documentation")
    return FileResponse(Path(spec.origin).parent / "static" / name, media_type=SWAGGER_FILES[name])
