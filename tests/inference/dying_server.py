"""A server in a process of its own that answers each question with a digest of it, and can die over one.

python dying_server.py NUMBER [judge]    prints its port; at its request of this number (from 1; 0: never) it is gone
    It says the digest in a chat completion, or as the score of a judge, or of POLAR (POST /pooling).
"""

import json
import os
import sys
import threading
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FATAL = 0
asked, lock = 0, threading.Lock()


def score_of(text):
    return sha256(text.encode()).digest()[0] / 255


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply({"data": [{"id": "said-model"}], "asked": asked})

    def do_POST(self):
        global asked
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
            asked += 1
            if asked == FATAL:
                os._exit(9)
        time.sleep(0.02)
        if self.path == "/pooling":
            self.reply({"data": [{"data": score_of(text)} for text in body["input"]]})
            return
        asked_for = json.dumps(body["messages"])
        text = f"<think>-</think><answer>{sha256(asked_for.encode()).hexdigest()}</answer>"
        if "judge" in sys.argv:
            text = json.dumps({"score": score_of(asked_for)})
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 40, "completion_tokens": 9}
        self.reply({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

    def reply(self, body):
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


if __name__ == "__main__":
    FATAL = int(sys.argv[1])
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
