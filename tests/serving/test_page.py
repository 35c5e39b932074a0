"""The page and its files over HTTP; what they do in a browser is in test_browser.py."""

import importlib.util
import json
import re

import pytest

from onethinker.commands.serve import check_installed
from onethinker.core.errors import ConfigError
from onethinker.serving.pages import HERE, TASKS

SCRIPTS = {path.name: path.read_text("utf-8") for path in HERE.glob("*.js")}


def test_the_page_and_all_that_it_names_are_served_under_a_policy_without_inline_code(client):
    page = client.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    named = re.findall(r'(?:href|src)="(/[^"]+)"', page.text)
    named += [path for script in SCRIPTS.values() for path in re.findall(r' from "([^"]+)"', script)]
    assert {path.removeprefix("/page/") for path in named} == {*SCRIPTS, "style.css"} - {"docs.js"}
    assert all(client.get(path).status_code == 200 for path in named)
    assert not re.search(r"<script>|style=|\son\w+=|https?://", page.text)
    assert client.get("/page/..%2fapp.py").status_code == 404


def test_what_shows_the_routes_is_looked_for_before_the_server_starts(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastapi_offline" else name)
    with pytest.raises(ConfigError, match="serve"):
        check_installed()


def test_the_description_of_the_routes_has_all_that_it_refers_to(client):
    told = client.get("/openapi.json").json()
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(told)))
    assert {"AskBody", "TurnBody", "ChatBody", "ChatMessage"} <= referred <= set(told["components"]["schemas"])
    assert "$defs" not in json.dumps(told)
    form = told["paths"]["/v1/ask"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["media"]["items"] == {"type": "string", "format": "binary"}


def test_no_script_makes_html_of_strings():
    maker = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser"
    assert [name for name, script in SCRIPTS.items() if re.search(maker, script)] == []


def test_every_text_is_there_in_every_language():
    blocks = dict(re.findall(r"\n  (en|ja|zh): \{(.*?)\n  \},", SCRIPTS["texts.js"], re.DOTALL))
    names = {language: set(re.findall(r"(\w+): \"", block)) for language, block in blocks.items()}
    used = set(re.findall(r'data-text="(\w+)"', (HERE / "index.html").read_text("utf-8")))
    used |= {name for script in SCRIPTS.values() for name in re.findall(r'\btext\("(\w+)"\)', script)}
    assert set(names) == {"en", "ja", "zh"}
    assert names["en"] == names["ja"] == names["zh"]
    assert used == names["en"]


def test_each_example_is_a_picture_or_clip_with_a_question(client):
    told = client.get("/v1/examples").json()
    assert [each["task"] for each in told] == list(TASKS)
    for each in told:
        file = client.get(f"/v1/examples/{each['name']}")
        assert file.headers["Content-Type"] in ("image/png", "video/mp4")
        assert "[" not in each["question"]
    assert client.get("/v1/examples/x.png").status_code == 404
