"""What `onethinker launch …` prints: the files by which a cluster starts a run on several nodes."""

import os
import shlex
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import tyro

from onethinker.commands.nodes import DEFAULT_PORT
from onethinker.commands.training import Stage, load_recipe
from onethinker.core.errors import ConfigError
from onethinker.core.settings import FlagSettings

RESTARTS = 4
"""So often a run in Kubernetes is started again after a failure."""


class ClusterOptions(FlagSettings):
    """The run that the cluster starts."""

    stage: tyro.conf.Positional[Stage]
    """The command that each node runs."""
    recipe: tyro.conf.Positional[str]
    """A TOML file that all nodes can see, or the name of a recipe that comes with OneThinker."""
    output: Path
    """Folder of the run, on a disk that all nodes share."""
    nodes: int
    """Number of machines that the run spans."""
    gpus_per_node: int = 8
    """GPUs per machine; each gets one process."""
    cpus_per_gpu: int = 8
    """Processor cores per GPU, which decode the media."""
    set: tuple[str, ...] = ()
    """Settings that override the recipe's, as for `onethinker sft`."""
    accelerate_config: str | None = None
    """How weights are sharded, as for `onethinker sft`, such as fsdp2_full."""


class SlurmOptions(ClusterOptions):
    """Further options of the Slurm job."""

    time: str = "1-00:00:00"
    """Time limit of the job, in Slurm's format."""
    setup: tuple[str, ...] = ()
    """Shell commands to run before training, such as 'source .venv/bin/activate'."""


class KubernetesOptions(ClusterOptions):
    """Further options of the Kubernetes job."""

    image: str
    """Container image with OneThinker, such as one built from the project's Dockerfile."""
    claim: str = "shared"
    """Persistent volume claim that all pods can write to, for recipes, data and --output."""
    mount: str = "/shared"
    """Path at which pods mount that volume."""
    name: str = "onethinker"
    """Name of the job and of the service through which its pods find each other."""
    kind: Literal["job", "jobset"] = "job"
    """ "job" is an indexed job, which every cluster supports; "jobset" is a JobSet, whose controller must be
    installed."""


def check_run(options: ClusterOptions) -> None:
    """Do nothing where the recipe can be shared by so many GPUs.

    Raises: ConfigError: it cannot, or a number is less than 1.
    """
    from onethinker.training.preflight import check_batch, check_servers, samples_of
    from onethinker.training.sharding import find_accelerate_config

    for name in ("nodes", "gpus_per_node", "cpus_per_gpu"):
        if (value := getattr(options, name)) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    recipe = load_recipe(options.stage, options.recipe, options.set)
    processes = options.nodes * options.gpus_per_node
    check_batch(samples_of(recipe), processes)
    check_servers(recipe, nodes=options.nodes)
    if options.accelerate_config is not None:
        find_accelerate_config(options.accelerate_config)
        if processes == 1:
            raise ConfigError(
                "--accelerate-config shards a model over several GPUs, and this run has only one; leave it out"
            )


def command_of(options: ClusterOptions, place: str) -> str:
    """Return the line of shell that a node runs; `place` says which node it is and where node 0 listens."""
    words = ["onethinker", options.stage, options.recipe, "--output", str(options.output)]
    words += ["--processes", str(options.gpus_per_node)]
    words += ["--accelerate-config", options.accelerate_config] if options.accelerate_config else []
    words += ["--set", *options.set] if options.set else []
    nodes = f" --nodes {options.nodes} {place}" if options.nodes > 1 else ""
    return f"exec {shlex.join(words)}{nodes}"


def slurm_script(options: SlurmOptions) -> str:
    """Return a file for `sbatch`."""
    place = '--node-rank "$SLURM_NODEID" --main-address "$MAIN_ADDRESS" --main-port "$MAIN_PORT"'
    cores = options.cpus_per_gpu * options.gpus_per_node
    name = f"onethinker-{options.stage}"
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={name}",
        f"#SBATCH --nodes={options.nodes}",
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --gpus-per-node={options.gpus_per_node}",
        f"#SBATCH --cpus-per-task={cores}",
        "#SBATCH --mem=0",
        f"#SBATCH --time={options.time}",
        f"#SBATCH --output={name}-%j.log",
        "#SBATCH --open-mode=append",
        "# A preempted job is requeued, and the run resumes from its last checkpoint.",
        "#SBATCH --requeue",
        "",
        "set -euo pipefail",
        *options.setup,
        'hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")',
        # The first of the lines; a pipe to head would end the script by SIGPIPE.
        "MAIN_ADDRESS=${hosts%%$'\\n'*}",
        "MAIN_PORT=$((20000 + SLURM_JOB_ID % 10000))",
        "export MAIN_ADDRESS MAIN_PORT",
        "# One launcher per node, which starts one process per GPU.",
        f"srun --kill-on-bad-exit=1 --cpus-per-task={cores} bash -c {shlex.quote(command_of(options, place))}",
    ]
    return "\n".join(lines) + "\n"


def check_mount(options: KubernetesOptions) -> None:
    """Raise ConfigError where the run would be written into a pod, and be lost with it."""
    if not PurePosixPath(os.path.normpath(options.output)).is_relative_to(options.mount):
        inside = PurePosixPath(options.mount) / options.output.name
        raise ConfigError(
            f"--output {options.output}: files that a pod writes outside of --mount {options.mount} are lost with the"
            f" pod; give --output {inside}"
        )


def kubernetes_manifests(options: KubernetesOptions) -> list[Any]:
    """Return what starts a pod for each node: a job and the service by which they find node 0, or a JobSet."""
    return _jobset(options) if options.kind == "jobset" else _job(options)


def _job(options: KubernetesOptions) -> list[Any]:
    name = options.name
    pod = _pod(options, main_address=f"{name}-0.{name}") | {"subdomain": name}
    # Names of pods that are not ready yet: node 0 listens before it is.
    found = {"clusterIP": "None", "selector": {"job-name": name}, "publishNotReadyAddresses": True}
    # When one node fails all end, and each is started again: so often is once over all nodes, a few times.
    job = _indexed(options, pod, backoff_limit=RESTARTS * options.nodes)
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": found},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": job},
    ]


def _jobset(options: KubernetesOptions) -> list[Any]:
    """Return a JobSet, which makes the service itself, and starts all pods anew together when one fails."""
    name = options.name
    pod = _pod(options, main_address=f"{name}-node-0-0.{name}")
    spec = {
        "failurePolicy": {"maxRestarts": RESTARTS},
        "replicatedJobs": [{"name": "node", "template": {"spec": _indexed(options, pod, backoff_limit=0)}}],
    }
    return [{"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {"name": name}, "spec": spec}]


def _indexed(options: KubernetesOptions, pod: dict[str, Any], *, backoff_limit: int) -> dict[str, Any]:
    return {
        "completionMode": "Indexed",
        "completions": options.nodes,
        "parallelism": options.nodes,
        "backoffLimit": backoff_limit,
        "template": {"spec": pod},
    }


def _pod(options: KubernetesOptions, *, main_address: str) -> dict[str, Any]:
    place = f'--node-rank "$JOB_COMPLETION_INDEX" --main-address {main_address} --main-port {DEFAULT_PORT}'
    gpus = options.gpus_per_node
    container = {
        "name": "onethinker",
        "image": options.image,
        "command": ["bash", "-c", command_of(options, place)],
        "resources": {
            "requests": {"cpu": str(options.cpus_per_gpu * gpus)},
            "limits": {"nvidia.com/gpu": str(gpus)},
        },
        "volumeMounts": [{"name": "shared", "mountPath": options.mount}, {"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108 (NCCL looks for it there)
    }
    volumes = [
        {"name": "shared", "persistentVolumeClaim": {"claimName": options.claim}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    return {"restartPolicy": "Never", "containers": [container], "volumes": volumes}
