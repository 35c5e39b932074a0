"""`vllm serve MODEL --port PORT …` for tests: the scripted server as a program, with a process of its own below it."""

import os
import subprocess
import sys
import threading

if __name__ == "__main__":
    print("starting with", sys.argv[1:], flush=True)
    print("path", os.environ.get("PYTHONPATH"), "store", os.environ.get("TORCHELASTIC_USE_AGENT_STORE"), flush=True)
    if "--broken" in sys.argv:
        sys.exit("vLLM has no such model")
    from tests.rl.vllm_server import vllm_server  # loads torch

    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[sys.argv.index("--port") + 1]])
    with vllm_server(sys.argv[2], port=int(sys.argv[sys.argv.index("--port") + 1])):
        threading.Event().wait()
