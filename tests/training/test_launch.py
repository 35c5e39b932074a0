"""What `onethinker launch` prints starts the run: Slurm's file by a stand-in for srun, manifests by their fields."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from onethinker.commands.dispatch import dispatch
from onethinker.core.errors import ConfigError
from onethinker.training.state.run_folder import RunFolder
from tests.training.test_nodes import free_port

SRUN = """#!/bin/bash
# Runs what follows the flags once for each node, as srun does, and fails if one fails.
while [[ $1 == --* ]]; do shift; done
for node in $(seq 0 $((SLURM_JOB_NUM_NODES - 1))); do SLURM_NODEID=$node "$@" & started+=($!); done
for one in "${started[@]}"; do wait "$one" || failed=1; done
exit "${failed:-0}"
"""
ELSEWHERE = ["rollout.engine=vllm", 'rollout.endpoints=["http://192.0.2.1:8000/v1"]']
TINY = ["sft", "tiny_sft", "--nodes", "2", "--gpus-per-node", "1"]


def printed(capsys, *words: str) -> str:
    assert dispatch(["launch", *words]) == 0
    return capsys.readouterr().out


def on_path(folder: Path, **programs: str) -> str:
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.timeout(900)
def test_the_file_for_sbatch_trains_on_two_nodes(tmp_path, capsys):
    output = tmp_path / "a folder's name"
    settings = ["steps=1", "batch_size=4", 'optimizer.kind="adamw"']
    script = printed(capsys, "slurm", *TINY, "--output", str(output), "--setup", "export SEEN=1", "--set", *settings)
    (tmp_path / "job.sh").write_text(script)
    programs = {
        "srun": SRUN,
        "scontrol": '#!/bin/bash\n[ "$*" = "show hostnames one,two" ] && printf "localhost\\nother\\n"\n',
        "onethinker": f'#!/bin/bash\n[ "$SEEN" = 1 ] && exec {shlex.quote(sys.executable)} -m onethinker "$@"\n',
    }
    # The port follows from the number of the job.
    number = free_port()
    port = 20000 + number % 10000
    job = {"SLURM_JOB_NODELIST": "one,two", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": str(number)}
    environment = {**os.environ, **job, "PATH": on_path(tmp_path / "bin", **programs)}
    done = subprocess.run(
        ["bash", str(tmp_path / "job.sh")], env=environment, capture_output=True, text=True, check=False, timeout=800
    )
    assert done.returncode == 0, (port, done.stderr[-2000:])
    [row] = RunFolder(output).rows()
    assert row["step"] == 1
    assert (output / "model/model.safetensors").is_file()
    assert '"processes": 2' in (output / "starts.jsonl").read_text().replace('":2', '": 2')


def test_the_file_for_sbatch_asks_for_nodes_gpus_and_cores(tmp_path, capsys):
    script = printed(
        capsys, "slurm", "rl", "rl_8b", "--nodes", "4", "--output", "/shared/rl", "--accelerate-config", "fsdp2_full"
    )
    asked = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")]
    assert {"nodes=4", "ntasks-per-node=1", "gpus-per-node=8", "cpus-per-task=64", "requeue"} <= set(asked)
    # Slurm reads what it is asked for only above the first command.
    assert script.index("set -euo") > script.rindex("#SBATCH")
    run = shlex.split(script.splitlines()[-1])
    assert run[:2] == ["srun", "--kill-on-bad-exit=1"]
    assert "--processes 8 --accelerate-config fsdp2_full --nodes 4 --node-rank" in run[-1]
    (tmp_path / "job.sh").write_text(script)
    assert subprocess.run(["bash", "-n", str(tmp_path / "job.sh")], check=False).returncode == 0


def test_one_node_has_no_flags_of_nodes(capsys):
    script = printed(capsys, "slurm", "sft", "sft_8b", "--nodes", "1", "--output", "/shared/sft")
    assert "--node-rank" not in script


def test_the_manifests_are_a_service_and_a_job_with_a_pod_for_each_node(capsys):
    words = ["rl", "rl_8b", "--nodes", "4", "--output", "/shared/rl", "--image", "lab/onethinker:1", "--claim", "disk"]
    service, job = yaml.safe_load_all(printed(capsys, "kubernetes", *words, "--name", "paper", "--set", "seed=3"))
    assert (service["kind"], job["kind"], job["apiVersion"]) == ("Service", "Job", "batch/v1")
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]} == {"job-name": "paper"}
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    pod = spec["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    [container] = pod["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "disk"
    command = container["command"][-1]
    assert command.startswith("exec onethinker rl rl_8b --output /shared/rl --processes 8 --set seed=3 --nodes 4")
    assert '--node-rank "$JOB_COMPLETION_INDEX" --main-address paper-0.paper --main-port 29500' in command


JOBSET = {"failurePolicy", "network", "replicatedJobs", "successPolicy", "startupPolicy", "suspend"}
"""Fields of a JobSet's spec. Source: kubernetes-sigs/jobset, config/components/crd, commit 08dfbdf."""


def test_a_jobset_has_the_same_pods_and_starts_them_anew_together(capsys):
    words = ["kubernetes", "rl", "rl_8b", "--nodes", "4", "--output", "/shared/rl", "--image", "a:1", "--name", "paper"]
    _, job = yaml.safe_load_all(printed(capsys, *words))
    [jobset] = yaml.safe_load_all(printed(capsys, *words, "--kind", "jobset"))
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert {*jobset["spec"]} < JOBSET
    assert jobset["spec"]["failurePolicy"] == {"maxRestarts": 4}
    [nodes] = jobset["spec"]["replicatedJobs"]
    assert {*nodes} == {"name", "template"}
    spec, plain = nodes["template"]["spec"], job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    assert spec["backoffLimit"] == 0, "the controller starts all anew, not the job one pod"
    pod, own = spec["template"]["spec"], plain["template"]["spec"]
    command = pod["containers"][0].pop("command")[-1]
    assert "--main-address paper-node-0-0.paper" in command, "JobSet's own names of pods: set, job, index, index"
    assert command.replace("paper-node-0-0", "paper-0") == own["containers"][0].pop("command")[-1]
    assert pod | {"subdomain": "paper"} == own


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["sft", "tiny_sft", "--nodes", "0"], "--nodes must be at least 1"),
        (["sft", "tiny_sft", "--nodes", "9", "--set", "batch_size=8"], "a batch of 8 is smaller than the 72 processes"),
        (["sft", "tiny_sft", "--nodes", "2", "--accelerate-config", "fsdp3"], "no config 'fsdp3'"),
        (["rl", "sft_8b", "--nodes", "2"], "sft_8b"),
        (
            ["rl", "rl_8b", "--nodes", "2", "--set", "rollout.engine=vllm", "rollout.vllm={}"],
            "this run has 2 nodes: start",
        ),
        (["rl", "rl_8b", "--nodes", "2", "--set", *ELSEWHERE], "on another machine, .* set rollout.weights_folder"),
    ],
)
def test_what_cannot_run_is_refused_before_it_waits_in_a_queue(words, reason):
    with pytest.raises(ConfigError, match=reason):
        dispatch(["launch", "slurm", *words, "--output", "/shared/run"])


def test_servers_elsewhere_need_a_folder_that_they_see(capsys):
    words = ["slurm", "rl", "rl_8b", "--nodes", "2", "--output", "/shared/rl", "--set", *ELSEWHERE]
    assert "weights_folder=/shared/w" in printed(capsys, *words, "rollout.weights_folder=/shared/w")


HERE = 'rollout.endpoints=["http://localhost:8000/v1","http://127.0.0.1:8001/v1"]'
JUDGE = 'grading.reward_model={kind="judge",model="j",address="http://judge-1:8000/v1,http://[::1]:8000/v1"}'


def test_a_server_on_each_nodes_own_address_is_for_one_node(capsys):
    words = ["launch", "slurm", "rl", "rl_8b", "--output", "/shared/rl", "--set", "rollout.engine=vllm", HERE, JUDGE]
    assert dispatch([*words, "rollout.weights_folder=/w", "--nodes", "1"]) == 0
    assert "localhost" in capsys.readouterr().out
    with pytest.raises(
        ConfigError, match=r"rollout.endpoints: http://localhost:8000/v1 means a different machine on each node.* use a"
    ):
        dispatch([*words, "rollout.weights_folder=/w", "--nodes", "2"])
    words = ["rl", "tiny_rl", "--dry-run", "--set", "model=tiny", JUDGE]
    assert dispatch(words) == 0
    with pytest.raises(
        ConfigError,
        match=r"grading.reward_model.address: http://\[::1\]:8000/v1 means a different machine on each node",
    ):
        dispatch([*words, "--nodes", "2"])


@pytest.mark.parametrize("output", ["runs/r", "/runs/r", "/shared/../r", "/shared2/r"])
def test_a_run_that_would_be_lost_with_its_pod_is_refused(output):
    words = ["kubernetes", "sft", "tiny_sft", "--nodes", "1", "--gpus-per-node", "1", "--image", "a:1"]
    with pytest.raises(ConfigError, match="outside of --mount /shared are lost with the pod; give --output /shared/r"):
        dispatch(["launch", *words, "--output", output])
