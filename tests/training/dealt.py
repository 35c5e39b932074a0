"""Run by several processes under accelerate's launcher: train, take the run up again, and say what each process then holds."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from onethinker.training.checkpoint import optimizer_tensors
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.rl import train_rl
from onethinker.training.run import open_run
from onethinker.training.sft import train_sft
from onethinker.training.sharding import whole


def main() -> None:
    stage, recipe_file, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    kind, train = {"sft": (SftRecipe, train_sft), "rl": (RlRecipe, train_rl)}[stage]
    recipe = kind.model_validate_json(recipe_file.read_text())
    train(recipe, folder)
    run = open_run(recipe, folder, batch=4)
    dealt = [parameter for parameter in run.model.parameters() if isinstance(parameter, DTensor)]
    weights = whole(dict(run.model.named_parameters()), keep=True)
    moments = whole(optimizer_tensors(run.optimizer, run.model), keep=True)
    saved = load_file(folder / "model/model.safetensors")
    saved_moments = load_file(run.folder.checkpoints()[-1] / "optimizer.safetensors")
    report = {
        "dealt": sum(parameter.numel() for parameter in dealt),
        "mine": sum(parameter.to_local().numel() for parameter in dealt),
        "weights_equal": recipe.lora is not None or all(weights[name].equal(saved[name]) for name in weights),
        "moments_equal": moments.keys() == saved_moments.keys() and all(moments[name].equal(saved_moments[name]) for name in moments),
    }
    (folder / f"report-{run.accelerator.process_index}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
