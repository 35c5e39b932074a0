"""Why a request gets no answer, in the form that OpenAI's clients read: a status, a type and a sentence."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from starlette.responses import JSONResponse

from onethinker.core.errors import ConfigError, DataError, EngineError, MediaError, OneThinkerError
from onethinker.serving.uploads import Slot

STATUSES: tuple[tuple[type[OneThinkerError], int], ...] = (
    (MediaError, 422),
    (ConfigError, 400),
    (DataError, 400),
    (EngineError, 502),
    (OneThinkerError, 500),
)
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class RefusedError(Exception):
    """A request that is not answered."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.headers = status, dict(headers or {})

    def record(self) -> dict[str, dict[str, str | int | None]]:
        """Return the error as OpenAI's clients read it."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": None, "code": self.status}}

    def response(self) -> JSONResponse:
        """Return it as an HTTP response."""
        return JSONResponse(self.record(), self.status, self.headers)


@contextmanager
def refusing(slot: Slot | None = None) -> Iterator[None]:
    """Make a RefusedError of each error of ours, without the folders of a slot's files."""
    try:
        yield
    except OneThinkerError as error:
        status = next(status for kind, status in STATUSES if isinstance(error, kind))
        raise RefusedError(status, slot.without_paths(str(error)) if slot else str(error)) from error
