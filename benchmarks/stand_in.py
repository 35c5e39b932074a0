"""A server that streams words at a stated pace and takes hardly any processor time: what stands in front of it can be
measured alone.

Run: python benchmarks/stand_in.py --port 8920 --tokens 128 --pause 0.008
     python benchmarks/serve.py onethinker/families/weights --behind http://127.0.0.1:8920/v1 --requests 60

Figures: docs/results/serving.md.
"""

import asyncio
import json
from functools import partial

from measuring import parser_of

MODEL = "stand-in"


def event(content: str | None = None, reason: str | None = None, usage: dict | None = None) -> bytes:
    """Return one event of a streamed completion, as a chunk of HTTP."""
    choices = [] if content is None else [{"index": 0, "delta": {"content": content}, "finish_reason": reason}]
    body = {"id": "1", "object": "chat.completion.chunk", "model": MODEL, "choices": choices, "usage": usage}
    return chunk(f"data: {json.dumps(body)}\n\n".encode())


def chunk(data: bytes) -> bytes:
    """Return a chunk of HTTP."""
    return b"%x\r\n%s\r\n" % (len(data), data)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, tokens: int, pause_s: float) -> None:
    """Answer the requests of a connection: the list of models, or a completion."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = (line.lower().partition(b":") for line in head.split(b"\r\n"))
            length = next((int(value) for name, _, value in fields if name == b"content-length"), 0)
            await reader.readexactly(length)
            if head.startswith(b"GET"):
                models = json.dumps({"data": [{"id": MODEL}]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(models), models))
                continue
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for index in range(tokens):
                await asyncio.sleep(pause_s)
                writer.write(event("word ", "stop" if index == tokens - 1 else None))
            usage = {"prompt_tokens": 30, "completion_tokens": tokens, "total_tokens": 30 + tokens}
            writer.write(event(usage=usage) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client has left
    finally:
        writer.close()


async def main() -> None:
    """Serve until Ctrl-C."""
    parser = parser_of(__doc__)
    parser.add_argument("--port", type=int, default=8920)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--pause", type=float, default=0.008, help="seconds before each token")
    asked = parser.parse_args()
    talk = partial(answer, tokens=asked.tokens, pause_s=asked.pause)
    server = await asyncio.start_server(talk, "127.0.0.1", asked.port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
