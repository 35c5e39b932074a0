"""What the server tells Prometheus."""

from collections.abc import Callable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from onethinker.serving.answering import Answered


class Metrics:
    """Counters of one server."""

    def __init__(self, in_flight: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "onethinker_requests", "Requests by route and status", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "onethinker_request_seconds", "Seconds from the first byte to the last", ("route",), registry=self._registry
        )
        self._tokens = Counter("onethinker_tokens", "Tokens by kind", ("kind",), registry=self._registry)
        self._unusable = Counter(
            "onethinker_unusable_answers", "Replies without a usable answer", registry=self._registry
        )
        Gauge("onethinker_in_flight", "Questions in work or waiting", registry=self._registry).set_function(in_flight)

    def done(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        """Count a request."""
        route = getattr(scope.get("route"), "path", "other")
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answered(self, answered: Answered) -> None:
        """Count an answer."""
        reply = answered.thought.reply
        self._tokens.labels("prompt").inc(reply.prompt_tokens)
        self._tokens.labels("answer").inc(reply.completion_tokens)
        if answered.thought.answer is None:
            self._unusable.inc()

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self._registry)
