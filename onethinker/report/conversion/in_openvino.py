"""Run by the Python of an environment with optimum-intel: a folder is converted, or a converted one is asked.

It imports nothing of ours.
"""

import sys
from pathlib import Path

TASK = "image-text-to-text"
NOT_ASKED_FOR = "mm_token_type_ids"
"""transformers 5.0 tells media from words by their tokens."""


def convert(report: Path, original: str, made: str) -> None:
    """Convert, or report the family that is not known."""
    from optimum.exporters.openvino import main_export
    from optimum.exporters.tasks import TasksManager
    from optimum.intel import OVConfig
    from transformers import AutoConfig, PretrainedConfig, __version__

    kind = PretrainedConfig.get_config_dict(original)[0]["model_type"]
    try:
        AutoConfig.from_pretrained(original)
        tasks = TasksManager.get_supported_tasks_for_model_type(kind, "openvino", library_name="transformers")
    except (KeyError, ValueError):
        tasks = {}
    if TASK not in tasks:
        report.write_text(f"unknown\nmodels of type {kind} (with transformers {__version__})", "utf-8")
        return
    # Without a dtype large models are written in 8 bits.
    main_export(original, made, task=TASK, local_files_only=True, ov_config=OVConfig(dtype="fp32"))
    report.write_text("done", "utf-8")


def answer(report: Path, made: str, max_new_tokens: str, *inputs: str) -> None:
    """Report the tokens of each greedy answer, a line each."""
    import torch
    from optimum.intel import OVModelForVisualCausalLM

    # Without the hint OpenVINO computes in bfloat16 where the processor has it.
    model = OVModelForVisualCausalLM.from_pretrained(made, ov_config={"INFERENCE_PRECISION_HINT": "f32"})
    lines = []
    for path in inputs:
        batch = torch.load(path, weights_only=True)
        batch.pop(NOT_ASKED_FOR, None)
        tokens = model.generate(**batch, max_new_tokens=int(max_new_tokens), do_sample=False)
        lines.append(" ".join(map(str, tokens[0, batch["input_ids"].shape[1] :].tolist())))
    report.write_text("\n".join(lines), "utf-8")


if __name__ == "__main__":
    work = convert if sys.argv[2] == "convert" else answer
    work(Path(sys.argv[1]), *sys.argv[3:])
