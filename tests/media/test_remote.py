"""Files from the web, from servers that run here."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from onethinker.core.errors import MediaError
from onethinker.media.remote import fetch


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/") or "/loop")
            self.end_headers()
        elif self.path == "/cat.png":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"meow" + self.headers["Host"].encode())
        elif self.path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
        elif self.path == "/large":
            self.send_response(200)
            self.end_headers()
            for _ in range(64):
                self.wfile.write(bytes(2**16))
        else:
            self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"localhost:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("path", ["cat.png", "to//cat.png", "to//to//cat.png"])
def test_a_file_is_fetched_under_its_name_through_redirects(site, path):
    file = fetch(f"http://{site}/{path}", allow_private=True)
    assert (file.name, file.content) == ("cat.png", b"meow" + site.encode())


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere", "answered 404 Not Found"),
        ("loop", "redirects more than 5 times"),
        ("large", "larger than 1 MiB"),
        ("to/file:///etc/passwd", "begins with http"),
        ("to/http://[::1", "cannot be fetched"),
    ],
)
def test_what_cannot_be_fetched_is_an_error_that_names_the_address(site, path, reason):
    with pytest.raises(MediaError, match=reason) as raised:
        fetch(f"http://{site}/{path}", allow_private=True, max_bytes=2**20)
    assert f"http://{site}/{path}" in str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://{site}/cat.png",
        "http://127.1/a.png",
        "http://2130706433/a.png",
        "http://[::1]/a",
        "http://10.0.0.7/a",
        "http://169.254.169.254/latest",
    ],
)
def test_hosts_that_are_not_public_are_refused_unless_allowed(site, address):
    with pytest.raises(MediaError, match="not a public address; --allow-private"):
        fetch(address.format(site=site))


@pytest.mark.parametrize("address", ["ftp://host/a.png", "http://", "https:///a.png", "nonsense"])
def test_other_addresses_are_refused(address):
    with pytest.raises(MediaError, match="http"):
        fetch(address)
