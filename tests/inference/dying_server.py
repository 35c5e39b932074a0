"""A server of chat completions in a process of its own: it says a digest of each question, and can die over one.

python dying_server.py NUMBER    prints its port; at its request of this number (from 1; 0: never) it is gone
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
        text = sha256(json.dumps(body["messages"]).encode()).hexdigest()
        message = {"role": "assistant", "content": f"<think>-</think><answer>{text}</answer>"}
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


if __name__ == "__main__":
    FATAL = int(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
