from contextlib import ExitStack

import pytest

from tests.commands.chat_server import serving


@pytest.fixture
def serve():
    """Start servers that say the same to every question; each gives its address and what it is asked."""
    with ExitStack() as servers:
        yield lambda text: servers.enter_context(serving(text))
