"""`onethinker serve`: a model over HTTP, and a page to ask it."""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from onethinker.commands.options import ASKING, AskingOptions, Flags
from onethinker.core.errors import ConfigError
from onethinker.families.built_in import TINY
from onethinker.inference.settings import MODEL_HELP

if TYPE_CHECKING:
    from onethinker.serving.guards import Access


def serve(  # noqa: D417 (the help of --model is MODEL_HELP)
    *,
    model: Annotated[str, tyro.conf.arg(help=MODEL_HELP)] = TINY,
    host: str = "127.0.0.1",
    port: int = 8080,
    api_key_file: Path | None = None,
    allow_host: tuple[str, ...] = (),
    media_root: Path | None = None,
    allow_remote: tuple[str, ...] = (),
    beside: str | None = None,
    segmenter: str = "grabcut",
    batch_size: int = 8,
    queue: int = 64,
    asking: Flags[AskingOptions] = ASKING,
) -> None:
    """Serve a model: structured answers at /v1/ask, OpenAI's chat completions, and a web page at /.

    Uploads are decoded in separate processes with limits, and deleted when their request ends. Addresses are opened
    only with --allow-remote, and files of this machine only with --media-root. A host that can be reached from the
    network needs a key. On SIGTERM the server finishes the requests in flight.

    Args:
        host: Address to listen on; 0.0.0.0 listens on all interfaces and needs --api-key-file.
        port: Port to listen on; 0 chooses a free one.
        api_key_file: File that contains the key. All routes except /health require it: as "Authorization: Bearer KEY",
            or as the password that a browser asks for.
        allow_host: Further host names under which this server may be reached (in Host and Origin), such as that of a
            proxy.
        media_root: Folder whose files requests may name by path.
        allow_remote: Hosts whose http and https addresses requests may name: example.com, "*.example.com",
            example.com:8443.
        beside: A second model, like --model. Requests name the model they want, and the page asks both and shows their
            answers side by side.
        segmenter: What turns segmentation answers into masks: "grabcut" (no download), or SAM 2 or SAM 3:
            facebook/sam2.1-hiera-large, facebook/sam3, facebook/sam3:text (by words) or a folder.
        batch_size: Requests that a model loaded here answers at the same time.
        queue: Maximum number of requests in work or waiting; more are refused with 429 and Retry-After.
        asking: Model and sampling options, for requests that do not set their own.
    """
    check_installed()
    from onethinker.media.remote import LISTED_HOST

    access = read_access(host, api_key_file, allow_host)
    if media_root is not None and not media_root.is_dir():
        raise ConfigError(f"--media-root {media_root}: there is no such folder")
    for name in allow_remote:
        if not LISTED_HOST.fullmatch(name):
            raise ConfigError(
                f'--allow-remote takes hosts such as example.com, "*.example.com" or example.com:8443, got {name!r}'
            )
    if queue < 1 or batch_size < 1:
        raise ConfigError(f"--queue and --batch-size must be at least 1, got {queue} and {batch_size}")
    from onethinker.serving.answering import Answering
    from onethinker.serving.app import make_app
    from onethinker.serving.limits import Limits
    from onethinker.serving.uploads import Sources
    from onethinker.serving.web import bind, run

    listening = bind(host, port)
    limits = Limits(queue=queue)
    with (
        ExitStack() as loaded,
        tempfile.TemporaryDirectory(prefix="onethinker-serve-", ignore_cleanup_errors=True) as folder,
    ):
        models = [model] if beside is None else [model, beside]
        print(f"{' and '.join(models)}: loading", file=sys.stderr, flush=True)
        thinkers = [
            loaded.enter_context(asking.load(name, asking.sampling(), batch_size=batch_size)) for name in models
        ]
        first = Answering(thinkers[0], Path(folder), segmenter=segmenter, limits=limits)
        sources = Sources(media_root, allow_remote, limits)
        shown = f"[{host}]" if ":" in host else host
        app = make_app([first, *map(first.beside, thinkers[1:])], sources, access)
        print(
            f"{' and '.join(models)} listens on http://{shown}:{listening.getsockname()[1]}",
            file=sys.stderr,
            flush=True,
        )
        run(app, listening, drain_s=limits.drain_seconds)


def check_installed() -> None:
    """Raise ConfigError where what serves is not installed."""
    from importlib.util import find_spec

    needed = ("fastapi", "fastapi_offline", "uvicorn", "python_multipart", "prometheus_client")
    if any(find_spec(name) is None for name in needed):
        raise ConfigError("onethinker serve needs more packages: pip install 'onethinker[serve]'")


def read_access(host: str, key_file: Path | None, names: tuple[str, ...]) -> "Access":
    """Return who may ask. Raises: ConfigError: the key cannot be read, or everybody on the network could."""
    from onethinker.serving.guards import Access

    key = None
    if key_file is not None:
        try:
            key = key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"--api-key-file {key_file}: cannot be read: {getattr(error, 'strerror', None) or error}"
            ) from error
    return Access(host, key, frozenset(name.lower() for name in names))
