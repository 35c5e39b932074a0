"""What nobody would send: requests drawn from the server's own description, right ones and wrong ones."""

import pytest
import requests

from onethinker.serving.limits import Limits
from tests.serving.served import data_url, png, scripted, serving

schemathesis = pytest.importorskip("schemathesis")
hypothesis = pytest.importorskip("hypothesis")

PICTURE = data_url(png(16))
FEW_MINUTES, LONG = pytest.mark.timeout(1200), [pytest.mark.long, pytest.mark.timeout(6000)]
SHARES = {"POST /v1/ask": 0.5, "POST /v1/chat/completions": 0.3, "POST /v1/draw": 0.1, "POST /predict": 0.1}
"""Of the cases; every other route gets a few beside them."""
FEW = 8


@pytest.mark.parametrize("cases", [pytest.param(500, marks=FEW_MINUTES), pytest.param(3000, marks=LONG)])
def test_no_request_that_the_description_allows_or_forbids_breaks_the_server(tmp_path, cases):
    with serving(scripted(), tmp_path / "uploads", limits=Limits(idle_seconds=5)) as served:
        schema = schemathesis.openapi.from_url(f"{served.address}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        statuses = []
        for operation in operations:
            share = SHARES.get(operation.label, 0)
            statuses += statuses_of(operation, round(cases * share * 1.1) if share else FEW)
        assert [path.name for path in served.uploads()] in ([], ["examples"])
    assert len(statuses) >= cases
    assert {200, 400, 422} <= set(statuses)  # some are answered, some refused for their form, some for their media


def statuses_of(operation, cases: int) -> list[int]:
    """The status of each of a route's answers; half of the requests are drawn to be right, half to be wrong."""
    statuses: list[int] = []
    for mode, count in zip(schemathesis.GenerationMode, (cases - cases // 2, cases // 2), strict=True):
        try:
            strategy = operation.as_strategy(generation_mode=mode)

            @hypothesis.settings(
                max_examples=count,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(strategy, hypothesis.strategies.booleans())
            def ask(case, is_complete) -> None:
                if is_complete:
                    complete(case.body)
                with requests.Session() as session:
                    session.trust_env = False
                    reply = case.call(session=session, timeout=60)
                statuses.append(reply.status_code)
                assert reply.status_code < 500, case.as_curl_command()[:2000]

            ask()
        except hypothesis.errors.Unsatisfiable:
            continue  # a route without parameters cannot be asked wrongly
    return statuses


def complete(body) -> None:
    """Put a picture that can be decoded, and a task that there is, into a body that has the places for them."""
    if not isinstance(body, dict):
        return
    body |= {"task": "open-ended"}
    if isinstance(body.get("media"), list):
        body |= {"media": [png(16) if any(isinstance(each, bytes) for each in body["media"]) else PICTURE]}
    for message in body["messages"] if isinstance(body.get("messages"), list) else ():
        if isinstance(message, dict) and message.get("role") == "user":
            shown = {"type": "image_url", "image_url": {"url": PICTURE}}
            message["content"] = [{"type": "text", "text": "How many?"}, shown]
    for each in body["tasks"] if isinstance(body.get("tasks"), list) else ():
        if isinstance(each, dict) and isinstance(each.get("data"), dict):
            each["data"] |= {"image": PICTURE, "question": "How many?"}
