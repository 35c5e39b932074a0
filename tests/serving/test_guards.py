"""Who may ask, how much, and what is never opened."""

import base64
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from onethinker.commands.serve import serve
from onethinker.core.addresses import is_loopback
from onethinker.core.errors import ConfigError, MediaError
from onethinker.media import remote
from onethinker.media.prefetch import MEMORY_VARIABLE
from onethinker.serving.guards import Access
from onethinker.serving.limits import Limits
from onethinker.serving.uploads import Sources, new_slot
from tests.serving.served import Patient, data_url, png, scripted, serving

KEY = "a-key-of-many-characters"
BASIC = base64.b64encode(f"me:{KEY}".encode()).decode()


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    with serving(scripted(), tmp_path_factory.mktemp("locked"), access=Access(key=KEY)) as found:
        yield found


def routes_of(client: httpx.Client) -> list[tuple[str, str]]:
    told = client.get("/openapi.json", headers={"Authorization": f"Bearer {KEY}"}).json()["paths"]
    return [(method.upper(), path.replace("{name}", "x")) for path, methods in told.items() for method in methods]


def test_every_route_but_health_wants_the_key(locked):
    with locked.client() as client:
        routes = [*routes_of(client), ("GET", "/openapi.json"), ("GET", "/nowhere")]
        assert len(routes) > 10
        for method, path in routes:
            for given in (
                None,
                "Bearer wrong",
                f"Basic {base64.b64encode(b'me:wrong').decode()}",
                "Basic %",
                KEY,
                "Bearer \xff",
            ):
                sent = {} if given is None else {"Authorization": given.encode("latin-1")}
                assert client.request(method, path, headers=sent).status_code == (200 if path == "/health" else 401), (
                    path
                )


@pytest.mark.parametrize("given", [f"Bearer {KEY}", f"bearer {KEY}", f"Basic {BASIC}"])
def test_the_right_key_opens(locked, given):
    with locked.client(headers={"Authorization": given}) as client:
        assert client.get("/v1/models").status_code == 200
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
def test_a_public_host_without_a_key_does_not_start(host):
    with pytest.raises(ConfigError, match="--api-key-file"):
        Access(host)
    assert not is_loopback(host)
    Access(host, KEY)


def test_the_command_refuses_a_public_host_without_a_key_before_it_loads_a_model():
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0 can be reached from the network: add --api-key-file"):
        serve(model="no such model", host="0.0.0.0")


@pytest.mark.parametrize("key", ["a" * 15, "", "abcdefgh\nabcdefgh", "abcdefgh abcdefgh", "schlüsselschlüssel"])
def test_a_key_that_is_short_or_that_a_header_cannot_hold_is_refused(key):
    with pytest.raises(ConfigError, match=rf"at least 16 ASCII characters, got {len(key)} characters; `openssl rand"):
        Access(key=key)
    Access(key="a" * 16)


@pytest.mark.parametrize("name", ["https://vision.example.com", "vision.example.com:443", "vision.example.com/"])
def test_an_address_where_a_name_of_this_server_belongs_is_refused(name):
    with pytest.raises(ConfigError, match="--allow-host takes a name such as"):
        serve(model="no such model", allow_host=(name,))


@pytest.mark.parametrize("host", ["https://example.com", "*", "example.com/a", "example.com:https"])
def test_an_address_where_a_remote_host_belongs_is_refused(host):
    with pytest.raises(ConfigError, match="--allow-remote takes hosts such as"):
        serve(model="no such model", allow_remote=(host,))


def test_a_head_request_is_that_of_get_without_its_body(client):
    told = client.head("/health")
    assert (told.status_code, told.content) == (200, b"")
    assert int(told.headers["content-length"]) == len(client.get("/health").content)
    assert client.head("/v1/ask").status_code == 405


HOSTS = {
    "localhost:1": 200,
    "127.0.0.1": 200,
    "[::1]:8": 200,
    "evil.example": 403,
    "127.0.0.1.evil.example": 403,
    "": 403,
}


@pytest.mark.parametrize("host", HOSTS)
def test_another_name_in_host_is_refused(client, host):
    assert client.get("/v1/models", headers={"Host": host}).status_code == HOSTS[host]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "file://", "http://localhost:1", "chrome-extension://a"]
)
def test_a_page_of_another_site_is_refused(client, origin):
    assert client.get("/v1/models", headers={"Origin": origin}).status_code == 403


def test_our_own_page_may_ask(client, served):
    assert client.get("/v1/models", headers={"Origin": served.address}).status_code == 200


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=b"])
def test_a_body_may_be_as_long_as_its_limit(tmp_path, more, chunked, kind):
    limits = Limits(body_bytes=2000, upload_bytes=3000)
    size = (2000 if "json" in kind else 3000) + more
    begin = b"" if "json" in kind else b'--b\r\nContent-Disposition: form-data; name="question"\r\n\r\n'
    body = begin + b"x" * (size - len(begin))
    with serving(scripted(), tmp_path / "uploads", limits=limits) as served, served.client() as client:
        content = iter([body[:700], body[700:]]) if chunked else body
        status = client.post("/v1/ask", content=content, headers={"Content-Type": kind}).status_code
        assert (status == 413) == (more > 0)
        assert status in (400, 413)
        assert served.uploads() == []


def test_uploads_over_the_quota_are_refused_until_others_are_deleted(tmp_path):
    engine, content = Patient(), png() + bytes(50_000)
    form = {"files": {"media": content}, "data": {"question": "How many?"}}
    with (
        serving(engine, tmp_path / "uploads", limits=Limits(disk_bytes=80_000)) as served,
        served.client() as client,
        ThreadPoolExecutor(1) as waiting,
    ):
        first = waiting.submit(client.post, "/v1/ask", **form)
        assert engine.began.wait(60)
        [upload] = [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()]
        assert upload.read_bytes() == content
        refused = client.post("/v1/ask", **form)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert "too many uploads" in refused.json()["error"]["message"]
        assert len(served.uploads()) == 1
        engine.may.set()
        assert first.result(60).status_code == 200
        assert served.uploads() == []
        assert client.post("/v1/ask", **form).status_code == 200
        assert served.uploads() == []


AMOUNTS = {
    "pictures": (lambda n: {"media": [data_url(png())] * n}, 8, 422),
    "options": (lambda n: {"options": [str(each) for each in range(n)]}, 26, 400),
    "words": (lambda n: {"question": "a" * n}, 20_000, 400),
    "turns": (lambda n: {"earlier": [{"question": "a", "answer": "b"}] * n}, 32, 400),
    "tokens": (lambda n: {"max_new_tokens": n}, 8192, 400),
}


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("what", AMOUNTS)
def test_a_request_may_have_as_much_as_its_limit(client, what, more):
    make, most, status = AMOUNTS[what]
    body = {"question": "How many?", "task": "open-ended", "media": [data_url(png())], **make(most + more)}
    assert client.post("/v1/ask", json=body).status_code == (status if more > 0 else 200)


V4 = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.0.0.2",
    "127.1.2.3",
    "127.255.255.255",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.20.1.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.0.1",
    "192.168.1.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
]
V6 = [
    "[::]",
    "[::1]",
    "[fc00::1]",
    "[fd00::1]",
    "[fd12:3456::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[ff0e::1]",
    "[2001:db8::1]",
    "[2001::1]",
    "[100::1]",
    "[5f00::1]",
    "[64:ff9b:1::1]",
    "[3fff::1]",
    "[2002:a00:1::]",
    "[2002:7f00:1::1]",
    "[2002:a9fe:a9fe::]",
    "[2002:c0a8:101::]",
]
INSIDE = [
    f"[{prefix}{address}]"
    for prefix in ("::ffff:", "64:ff9b::", "::")
    for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "0.0.0.0", "100.64.0.1")
]
SPELLED = [
    "2130706433",
    "0x7f000001",
    "017700000001",
    "127.1",
    "127.0.1",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f.1",
    "0",
    "0.0",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "3232235777",
    "0xa9fea9fe",
    "169.16689638",
    "0251.0376.0251.0376",
]
TRICKS = [
    "http://8.8.8.8@127.0.0.1/",
    "http://127.0.0.1#@8.8.8.8/",
    "http://127.0.0.1?@8.8.8.8/",
    "http://user:pass@127.0.0.1/",
    "http://8.8.8.8:80@127.0.0.1/",
    "http:///127.0.0.1/",
    "http:127.0.0.1",
    "http://8.8.8.8\\@127.0.0.1/",
    "http:\\\\127.0.0.1/",
    "http://%31%32%37.0.0.1/",
    "http://127%2e0%2e0%2e1/",
    "http://127.0.0.1%00.com/",
    "http://①②⑦.⓪.⓪.①",
    "http://127。0。0。1/",
    "http://ⓛocalhost/",
    "http://[::1%25lo]/",
    "http://127.0.0.1:80:80/",
    "http://127.0.0.1:99999/",
    "http://:80/",
    "http://",
    "http://[::1",
    "http://a..b/",
    "http://-/",
    "http://./",
    "http://../",
    "http://*/",
    "http://127.0.0.1\\t/",
    "http://127.0.0.1\\r\\nX:1/",
]
SCHEMES = [
    "file:///etc/passwd",
    "ftp://127.0.0.1/",
    "gopher://127.0.0.1/",
    "dict://127.0.0.1:11211/",
    "ldap://127.0.0.1/",
    "jar:http://127.0.0.1!/",
    "data:text/html,x",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "ws://127.0.0.1/",
    "HTTPS:/127.0.0.1",
    "//127.0.0.1/",
    "sftp://127.0.0.1/",
    "tftp://127.0.0.1/",
    "netdoc:/etc/passwd",
]
PORTS = [f"http://8.8.8.8:{port}/" for port in (1, 22, 25, 81, 2375, 3306, 5432, 6379, 8000, 8080, 9200, 11211, 27017)]
ADDRESSES = [
    *(f"http://{host}/" for host in (*V4, *V6, *INSIDE, *SPELLED)),
    *(f"https://{host}/" for host in (*V4[::4], *V6[::4])),
    *TRICKS,
    *SCHEMES,
    *PORTS,
]


def test_there_are_a_hundred_and_fifty_addresses():
    assert len(set(ADDRESSES)) >= 150


@pytest.fixture
def nobody_connects(monkeypatch):
    """Any connection is a failure; names are looked up as ever."""
    reached: list[object] = []

    def connect(_self: socket.socket, address: object) -> None:
        reached.append(address)
        raise OSError("reached")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return reached


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_inside_is_reached_even_where_every_host_is_allowed(nobody_connects, tmp_path, monkeypatch, address):
    monkeypatch.setattr(remote, "is_listed", lambda url, _: not url.port or url.port in remote.PORTS)
    with pytest.raises(MediaError):
        Sources(hosts=("*",)).open(address, new_slot(tmp_path))
    assert nobody_connects == []


@pytest.mark.parametrize("host", ["8.8.8.8", "[2001:4860:4860::8888]"])
def test_the_same_check_lets_public_addresses_pass(nobody_connects, host):
    with pytest.raises(MediaError, match="reached"):
        remote.fetch(f"http://{host}/")
    assert len(nobody_connects) == 1


def test_only_listed_hosts_are_asked(nobody_connects, tmp_path):
    for address in ("http://8.8.4.4/", "http://8.8.8.8:8080/", "http://8.8.8.8.evil.example/"):
        with pytest.raises(MediaError, match="not one of the allowed hosts"):
            Sources(hosts=("8.8.8.8",)).open(address, new_slot(tmp_path))
    assert nobody_connects == []


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with one picture, beside a secret, with links, a pipe and odd names in it."""
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (folder / "cat.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png())
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "passwd").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.png")
    return folder


PATHS = [
    "../secret.png",
    "sub/../../secret.png",
    "./../secret.png",
    "up/secret.png",
    "out.png",
    "loop",
    "passwd",
    "pipe.png",
    "sub",
    ".",
    "..",
    "/",
    "up",
    "/etc/passwd",
    "/proc/self/environ",
    "/proc/self/fd/0",
    "/proc/self/mem",
    "/dev/zero",
    "/dev/stdin",
    "/dev/random",
    "/etc/shadow",
    "/root",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "file://evil/cat.png",
    "file:///proc/self/environ",
    "file:///dev/zero",
    "FILE:///etc/passwd",
    "file:cat.png",
    "file:../secret.png",
    "file://../secret.png",
    "file:///%2e%2e/etc/passwd",
    "file:%2f%2fetc/passwd",
    "../../../../etc/passwd",
    "..\\secret.png",
    "%2e%2e/secret.png",
    "..%2fsecret.png",
    "%2e%2e%2fsecret.png",
    "....//secret.png",
    "..;/secret.png",
    "sub/../..//secret.png",
    "cat.png/",
    "cat.png/.",
    "cat.png/../../secret.png",
    "nothing.png",
    "sub/nothing.png",
    "~/.bashrc",
    "~root/.bashrc",
    "$HOME/.bashrc",
    "//etc/passwd",
    "///etc/passwd",
    "\\\\host\\share",
    "C:\\boot.ini",
    "cat.png:",
    ".//..//secret.png",
    "sub/./../../secret.png",
    "up/root/../secret.png",
]
PATHS += [
    "",
    "cat.png\0",
    "\0",
    "../secret.png\0.png",
    "a" * 5000,
    "a/" * 3000,
    "cat.png ",
    " /etc/passwd",
    "*",
    "cat.pn?",
]


def test_there_are_sixty_paths():
    assert len(set(PATHS)) >= 60


@pytest.mark.parametrize("path", PATHS, ids=lambda path: repr(path[:40]))
def test_no_path_leads_out_of_the_root_and_none_waits(root, tmp_path, path):
    started = time.monotonic()
    found = None
    with suppress(MediaError):
        found = Sources(root).open(path, new_slot(tmp_path))
    assert found in (None, root / "cat.png")
    assert time.monotonic() - started < 10  # a pipe that nobody writes to would never end


def test_what_lies_below_the_root_is_opened(root, tmp_path):
    for word in ("cat.png", "sub/../cat.png", str(root / "cat.png"), f"file://{root}/cat.png"):
        assert Sources(root).open(word, new_slot(tmp_path)) == root / "cat.png"


def test_a_decoder_with_too_little_memory_is_an_error(tmp_path):
    with serving(scripted(), tmp_path / "u", limits=Limits(decoder_bytes=2**20)) as served, served.client() as client:
        reply = client.post("/v1/ask", files={"media": png()}, data={"question": "How many?"})
        assert reply.status_code == 422
        assert "decoded" in reply.json()["error"]["message"]
    assert MEMORY_VARIABLE not in os.environ
