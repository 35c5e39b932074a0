"""Run by several processes under accelerate's launcher: train, do the last step again from disk, and say what each
process then holds.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.distributed import barrier
from torch.distributed.tensor import DTensor

from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.opening import open_session
from onethinker.training.parallel.collectives import full_tensors
from onethinker.training.parallel.fsdp2 import Fsdp2
from onethinker.training.parallel.moments import read_moments
from onethinker.training.parallel.zero2 import Zero2
from onethinker.training.reference import open_reference
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder


def contents(checkpoint: Path) -> dict[str, bytes]:
    return {
        f"{file.relative_to(checkpoint)} {name}": tensor.numpy().tobytes()
        for file in checkpoint.rglob("*.safetensors")
        for name, tensor in load_file(file).items()
    }


def saved_moments(checkpoint: Path, model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each tensor of the optimizer with its name, whole."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    folder = checkpoint / "optimizer"
    for parameter, kind, value in read_moments(
        model, folder if folder.exists() else checkpoint / "optimizer.safetensors"
    ):
        yield f"{names[id(parameter)]}/{kind}", value.full_tensor() if isinstance(value, DTensor) else value


def local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def main() -> None:
    entered = []
    gather = Fsdp2.unsharded

    def counted(backend: Fsdp2) -> AbstractContextManager[None]:
        entered.append(True)
        return gather(backend)

    Fsdp2.unsharded = counted
    stage, recipe_file, folder = sys.argv[1], Path(sys.argv[2]), RunFolder(Path(sys.argv[3]))
    torch.set_num_threads(1)
    kind, train = {"sft": (SftRecipe, train_sft), "rl": (RlRecipe, train_rl)}[stage]
    recipe = kind.model_validate_json(recipe_file.read_text())
    train(recipe, folder.path)
    last = folder.checkpoints.all()[-1]
    before = contents(last)
    barrier()
    if torch.distributed.get_rank() == 0:
        shutil.rmtree(last)
    barrier()
    train(recipe, folder.path)
    run = open_session(recipe, folder.path)
    weights = full_tensors(dict(run.model.named_parameters()), keep=True)
    kept = run.backend.weights(keep=True)
    moments = run.backend.moments(keep=True)
    if not isinstance(run.backend, Zero2):
        sharded = [parameter for parameter in run.model.parameters() if isinstance(parameter, DTensor)]
        held = sum(parameter.to_local().numel() for parameter in sharded)
    else:
        sharded = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
        held = sum(share.numel() for group in run.backend.engine.optimizer.param_groups for share in group["params"])
    reference = open_reference(run) if stage == "rl" else None
    held_by_reference = reference.model.parameters() if reference is not None else ()
    saved, read = load_file(folder.model / "model.safetensors"), dict(saved_moments(last, run.model))
    report = {
        "in_a_folder": None if kept is None else sum(weight.numel() for weight in kept.values()),
        "sharded": sum(parameter.numel() for parameter in sharded),
        "mine": held,
        "gathered": len(entered),
        "reference_bytes": sum(local(parameter).nbytes for parameter in held_by_reference),
        "resumed_equal": contents(last) == before,
        "weights_equal": recipe.lora is not None or all(weights[name].equal(saved[name]) for name in weights),
        "moments_equal": moments.keys() == read.keys() and all(moments[name].equal(read[name]) for name in moments),
    }
    (folder.path / f"report-{run.collectives.index}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
