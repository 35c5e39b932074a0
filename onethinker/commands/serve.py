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
    """Serve a model: typed answers at /v1/ask, OpenAI's chat completions, and a page for people at /.

    Uploads are decoded in processes with limits and deleted with their request. Addresses and files of this machine
    are opened only where --allow-remote and --media-root say so. A host that the network reaches needs a key. SIGTERM
    lets what is in flight end.

    Args:
        host: Address to listen on; 0.0.0.0 is the whole network, and needs --api-key-file.
        port: Port to listen on; 0 takes a free one.
        api_key_file: File whose text is the key that every route but /health wants: "Authorization: Bearer KEY", or
            as the password that a browser asks for.
        allow_host: Further names of this server in Host and Origin, such as that of a proxy.
        media_root: Folder whose files may be asked about by their path.
        allow_remote: Hosts whose http and https addresses may be asked about: example.com, "*.example.com",
            example.com:8443.
        beside: A second model, like --model: requests name the one that they mean, and the page asks both and shows
            their answers side by side.
        segmenter: What makes masks of a segmentation's answer: "grabcut" (no download), or SAM 2
            or SAM 3: facebook/sam2.1-hiera-large, facebook/sam3, facebook/sam3:text (by words) or a folder.
        batch_size: Requests that a model which runs here answers together.
        queue: Requests that are worked on or wait; more are refused with 429 and Retry-After.
        asking: How the model is asked, where a request does not say.
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
