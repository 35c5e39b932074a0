"""What a dry run says before a run: parameters against published totals, arithmetic by hand, memory against what torch
keeps.
"""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from onethinker.commands.dispatch import dispatch
from onethinker.core.errors import ConfigError, DataError, EngineError
from onethinker.data.formats.records import write_records
from onethinker.data.validate import check_files
from onethinker.families.registry import family_of
from onethinker.families.tiny import TINY_BUDGET, build_tiny
from onethinker.inference.loading import load_meta_model
from onethinker.media.budget import MediaBudget
from onethinker.storage.atomic import differences
from onethinker.training.adapters import choose_trained, count_parameters
from onethinker.training.batch import largest_visual_tokens, plan_batch
from onethinker.training.checkpointing import compute_again
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.liger import use_liger
from onethinker.training.memory import estimate_memory, peak
from onethinker.training.optimizer import state_bytes
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.row import pack
from onethinker.training.plan import make_plan
from onethinker.training.preflight import settings_of
from onethinker.training.scoring import score
from onethinker.training.sft import train_sft
from onethinker.training.sharding import Sharding
from onethinker.training.state.run_folder import RunFolder
from tests.models import save_tiny
from tests.training.test_packing import some_groups

CONFIGS = Path(__file__).with_name("configs")


@pytest.mark.parametrize(("name", "total"), [("qwen3_vl_8b", 8_767_123_696), ("qwen3_vl_2b", 2_127_532_032)])
def test_the_outline_of_a_published_model_has_as_many_parameters_as_its_weights(name, total):
    """The totals are those that the hub shows for Qwen/Qwen3-VL-8B-Instruct and -2B-Instruct."""
    model = load_meta_model("any/name", config=CONFIGS / f"{name}.json")
    assert sum(count.total for count in count_parameters(model).values()) == total
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_an_outline_comes_from_a_folder_or_tiny_and_an_unknown_name_is_an_error(tmp_path):
    save_tiny(tmp_path / "tiny")
    counts = [count_parameters(load_meta_model(name)) for name in ("untrained", str(tmp_path / "tiny"))]
    assert counts[0] == counts[1]
    with pytest.raises(EngineError, match="no such folder"):
        load_meta_model("runs/nothing/model")


def test_the_arithmetic_of_a_step():
    recipe = RlRecipe(
        max_row_tokens=10_000,
        rollout={"generation_batch_size": 24, "group_size": 4, "max_new_tokens": 500},
        loss={"updates_per_batch": 3},
    )
    batch = plan_batch(recipe, MediaBudget(max_frames=16, frame_max_pixels=64 * 1024, image_max_pixels=256 * 1024), 2)
    # 8 pairs of frames of 64 tokens each, the time of each pair in 9, and 1,024 for the text; 4 answers of 500 on top.
    assert (batch.visual_tokens, batch.prompt_tokens) == (512, 512 + 8 * 9 + 1024)
    assert batch.group_tokens == 1608 + 2000
    assert batch.prompts_per_process == 12
    # 4 prefix groups an update and process, two of them in a row of 10,000.
    assert batch.rows == 2


@pytest.mark.parametrize(
    ("recipe", "processes", "said"),
    [
        (SftRecipe(batch_size=32), 3, r"batch_size = 32 is not divisible by 3 processes.*30 or 33"),
        (
            RlRecipe(rollout={"generation_batch_size": 10}),
            4,
            r"generation_batch_size = 10 is not divisible by 4 processes.*8 or 12",
        ),
        (
            RlRecipe(rollout={"generation_batch_size": 10}, loss={"updates_per_batch": 4}),
            2,
            r"is not divisible by 4 updates",
        ),
        (SftRecipe(batch_size=2), 3, r"Choose 3"),
    ],
)
def test_arithmetic_that_does_not_divide_is_refused_with_what_would(recipe, processes, said):
    with pytest.raises(ConfigError, match=said):
        plan_batch(recipe, TINY_BUDGET, processes)


def test_the_largest_picture_or_the_longest_video_decides_over_the_visual_tokens():
    assert largest_visual_tokens(MediaBudget(max_frames=2)) == 1024
    assert largest_visual_tokens(MediaBudget(max_frames=128, frame_max_pixels=98 * 1024)) == 64 * 98


def kept_bytes(model, row) -> int:
    """Return the size of all tensors that the backward pass needs, weights not counted."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    seen: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        score(model, row)
    return sum(size for size, _ in seen.values())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"frozen": ("vision", "merger")},
        {"gradient_checkpointing": True},
        {"gradient_checkpointing": ["language"]},
        {"gradient_checkpointing": ["vision"]},
        {"dtype": "bfloat16", "frozen": ("vision", "merger")},
    ],
    ids=["all", "language only", "checkpointing", "of the language model", "of the vision tower", "bfloat16"],
)
def test_the_estimate_of_activations_is_near_what_torch_keeps(prompts, settings):
    recipe = SftRecipe(max_row_tokens=64, **settings)
    model, _ = build_tiny()
    model.to(getattr(torch, recipe.weights_dtype)).train()
    use_packed_attention(model)
    choose_trained(model, recipe)
    compute_again(model, recipe.computed_again)
    row = pack(some_groups(prompts))
    found = kept_bytes(model, row)

    tokens = row.inputs["input_ids"].shape[1]
    patches = sum(len(row.inputs[name]) for name in ("pixel_values", "pixel_values_videos"))
    batch = plan_batch(recipe, TINY_BUDGET, 1)
    widths = family_of(model).widths(model.config)
    terms = estimate_memory(recipe, count_parameters(model), state_bytes(model, recipe), widths, batch)
    size = {term.name: term.size for term in terms}
    one_layer = tokens * widths.kept_per_token * 4 if "language" in recipe.computed_again else 0
    expected = size["activations"] / batch.row_tokens * tokens - one_layer
    expected += size.get("activations of vision", 0) / (4 * batch.visual_tokens) * patches
    # An estimate: what other widths or another version of transformers keep differs by as much.
    assert expected == pytest.approx(found, rel=0.35)


def test_adapters_and_sharding_take_away_what_they_should():
    meta_model = CONFIGS / "qwen3_vl_8b.json"
    budget = MediaBudget(max_frames=64, frame_max_pixels=64 * 1024)

    def sizes(*, sharding=None, sampler=None, **settings):
        model = load_meta_model("8b", config=meta_model)
        rollout = {"max_new_tokens": 512, "decode_batch_size": 1} | (sampler or {})
        recipe = RlRecipe(**settings, model="any/name", rollout=rollout, gradient_checkpointing=True)
        plan = make_plan(recipe, processes=8, model=model, budget=budget, sharding=sharding)
        found: dict[str, float] = {}
        for term in plan.memory:
            found[term.name] = found.get(term.name, 0) + term.size
        return found | {"peak": peak(list(plan.memory))}

    full, adapted = sizes(dtype="bfloat16"), sizes(dtype="bfloat16", lora={"rank": 16})
    assert full["weights"] == full["reference model"] == 2 * 8_767_123_696
    assert full["moments of the optimizer"] == 2 * full["gradients"] == 4 * 8_767_123_696
    # 36 layers of adapters of rank 16 on q, k, v, o, gate, up and down.
    widths = (4096 + 4096) + 2 * (4096 + 1024) + (4096 + 4096) + 2 * (4096 + 12288) + (12288 + 4096)
    assert adapted["gradients"] == 4 * 36 * 16 * widths
    assert "reference model" not in adapted
    assert sizes(loss={"kl_coefficient": 0}).get("reference model") is None
    sharded = sizes(dtype="mixed", sharding=Sharding("fsdp2"))
    # In bfloat16, the language model's share, vision tower and mergers whole.
    assert sharded["reference model"] == 2 * (8_190_735_360 / 8 + 415_891_440 + 160_496_896)
    refreshed = {"loss": {"reference_refresh": 10}, "optimizer": {"ema_decay": 0.99}}
    assert sizes(dtype="mixed", sharding=Sharding("fsdp2"), **refreshed)["reference model"] == sharded["weights"]
    copies = sizes(dtype="mixed", lora={"rank": 16}, **refreshed)
    assert copies["reference model"] == copies["average of the weights"] == adapted["gradients"]
    assert sharded["peak"] < 0.6 * sizes(dtype="mixed")["peak"]
    # The language model's share in float32, vision tower and mergers whole.
    assert sharded["weights"] == 4 * (8_190_735_360 / 8 + 415_891_440 + 160_496_896)
    # Two of 36 layers, both tables of words (151,936 by 4096), vision and mergers are there at a time, not all weights.
    tables = 2 * 151_936 * 4096
    single = sizes(dtype="mixed", sharding=Sharding("fsdp2", full=True))
    outside = tables + 415_891_440 + 160_496_896
    assert single["weights in use"] == pytest.approx(2 * (2 * (8_190_735_360 - tables) / 36 + outside))
    assert single["all weights"] == 2 * 8_767_123_696
    # Where servers sample no process gathers the model, and the keys and values are theirs.
    servers = {"engine": "vllm", "vllm": {"servers": 2}}
    served = sizes(dtype="mixed", sharding=Sharding("fsdp2", full=True), sampler=servers)
    assert single.keys() - served.keys() == {"all weights", "keys and values"}
    assert all(served[name] == single[name] for name in served.keys() - {"peak"})
    offloaded = sizes(dtype="mixed", sharding=Sharding("fsdp2", full=True, offload=True))
    assert offloaded["weights"] == offloaded["gradients"] == 4 * (415_891_440 + 160_496_896)
    assert offloaded["in the computer's memory"] == 16 * 8_190_735_360 / 8 + 2 * 8_190_735_360 / 8
    assert offloaded["peak"] < single["peak"] < sharded["peak"]
    kept = sizes(dtype="mixed", sharding=Sharding("zero2"))
    assert kept["weights"] == 4 * 8_767_123_696
    assert (
        kept["gradients"]
        == kept["weights that it steps"]
        == kept["moments of the optimizer"] / 2
        == 4 * 8_767_123_696 / 8
    )


def test_what_a_layer_begins_with_waits_in_the_computers_memory_one_excepted(prompts):
    recipe = SftRecipe(gradient_checkpointing=True, max_row_tokens=64)
    offloaded = recipe.model_copy(update={"activation_offload": True})
    model, _ = build_tiny()
    widths, batch = family_of(model).widths(model.config), plan_batch(recipe, TINY_BUDGET, 1)
    choose_trained(model, recipe)
    found = []
    for each in (recipe, offloaded):
        terms = estimate_memory(each, count_parameters(model), state_bytes(model, each), widths, batch)
        found.append(next(term.size for term in terms if term.name == "activations"))
    assert found[0] - found[1] == batch.row_tokens * widths.hidden * 4 * (widths.layers - 1)


BOTH = ("language", "vision")


@pytest.mark.parametrize(
    ("again", "offloaded"),
    [((), ()), (("language",), ()), (("vision",), ()), (BOTH, ("vision",)), (BOTH, ("language",)), (BOTH, BOTH)],
    ids=str,
)
def test_activations_of_any_part_computed_again_or_off_the_gpu_give_the_same_gradients(prompts, again, offloaded):
    row, found = pack(some_groups(prompts)), []
    for parts in (BOTH, again):
        model, _ = build_tiny()
        use_packed_attention(model)
        compute_again(model.train(), parts, offloaded=offloaded if parts is again else ())
        score(model, row)[0].sum().backward()
        found.append({name: weight.grad for name, weight in model.named_parameters()})
    assert all(gradient.equal(found[1][name]) for name, gradient in found[0].items())


def test_only_the_layers_of_an_offloaded_part_move_what_they_keep():
    model, _ = build_tiny()
    compute_again(model, BOTH, offloaded=("vision",))
    of = {"vision": set(), "language": set()}
    for name, module in model.named_modules():
        if hasattr(module, "gradient_checkpointing"):
            of[family_of(model).part_of(f"{name}.")].add(module._gradient_checkpointing_func.func.__name__)
    assert of == {"vision": {"checkpoint_func"}, "language": {"checkpoint"}}, "checkpoint_func saves on the CPU"


def test_each_part_that_is_computed_again_keeps_less_for_the_backward_pass(prompts):
    row, kept = pack(some_groups(prompts)), {}
    for parts in ((), ("vision",), ("language",), BOTH):
        model, _ = build_tiny()
        use_packed_attention(model)
        compute_again(model.train(), parts)
        kept[parts] = kept_bytes(model, row)
    saved = {parts: kept[()] - size for parts, size in kept.items()}
    assert min(saved["vision",], saved["language",]) > 0
    assert saved[BOTH] == pytest.approx(saved["vision",] + saved["language",], rel=0.02)


def test_only_what_is_computed_again_can_wait_off_the_gpu():
    assert SftRecipe(gradient_checkpointing=["vision"], activation_offload=True).offloaded == ("vision",)
    with pytest.raises(
        ValidationError, match="activation_offload moves the activations that gradient_checkpointing keeps"
    ):
        SftRecipe(gradient_checkpointing=["vision"], activation_offload=["language"])
    with pytest.raises(ValidationError, match="'language' or 'vision'"):
        SftRecipe(gradient_checkpointing=["merger"])


def test_activations_are_taken_off_a_gpu_only_where_there_is_one_and_they_are_computed_again(tmp_path):
    with pytest.raises(ValidationError, match="set gradient_checkpointing = true too"):
        SftRecipe(activation_offload=True)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="this machine has none"):
            train_sft(SftRecipe(activation_offload=True, gradient_checkpointing=True), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_kernels_of_liger_are_for_the_norms_and_the_mlp_of_each_layer_and_need_a_gpu(tmp_path):
    if importlib.util.find_spec("liger_kernel") is None:
        with pytest.raises(ConfigError, match=r"pip install 'onethinker\[liger\]'"):
            train_sft(SftRecipe(liger=True), tmp_path / "run")
        return
    model, _ = build_tiny()
    names = list(dict(model.named_parameters()))
    use_liger(model)
    replaced = [name for name, module in model.named_modules() if "forward" in vars(module)]
    layers = family_of(model).widths(model.config).layers
    # Before attention, of queries, of keys, before the MLP, and the MLP.
    assert len(replaced) == 5 * layers
    assert all("language_model.layers" in name for name in replaced)
    assert list(dict(model.named_parameters())) == names
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="this machine has none"):
            train_sft(SftRecipe(liger=True), tmp_path / "run")


def test_a_setting_that_an_earlier_version_did_not_have_is_no_change_at_its_default(tmp_path):
    known = SftRecipe().model_dump(mode="json")
    del known["liger"], known["optimizer"]["ema_decay"]
    run = RunFolder(tmp_path)
    run.path.joinpath("recipe.json").write_text(json.dumps(known))
    assert list(differences(known, settings_of(SftRecipe(), run))) == []
    other = SftRecipe(liger=True, optimizer={"ema_decay": 0.9}, data={"weights": {"tracking": 2}})
    assert list(differences(known, settings_of(other, run))) == [
        "data.weights.tracking: None → 2.0",
        "optimizer.ema_decay: None → 0.9",
        "liger: None → True",
    ]


def records(folder: Path, **changes) -> Path:
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    record = {
        "problem": "<image>Which?",
        "answer": "<answer>A</answer>",
        "options": ["A. x", "B. y"],
        "images": ["a.png"],
    }
    record |= {
        "problem_type": "multiple choice",
        "data_type": "image",
        "response": "<think>so</think><answer>A</answer>",
    }
    write_records(folder / "data.jsonl", [record, {**record, **changes}, {**record, **changes}])
    return folder / "data.jsonl"


@pytest.mark.parametrize(
    ("changes", "need", "said"),
    [
        ({"response": None}, "response", r"data\.jsonl, row 2: SFT needs .*1 more of 3"),
        ({"answer": ""}, "truth", r"data\.jsonl, row 2: RL needs .*1 more of 3"),
        ({"images": ["b.png"]}, "truth", r"data\.jsonl, row 2: there is no file .*b\.png"),
        ({"options": "A"}, "truth", r"data\.jsonl, row 2: .*'options'"),
    ],
    ids=["no response", "no truth", "no picture", "unreadable"],
)
def test_a_record_that_cannot_be_learned_from_is_found_before_a_run_begins(tmp_path, changes, need, said):
    file = records(tmp_path, **changes)
    with pytest.raises(DataError, match=said):
        check_files([file], need=need)


def test_records_that_are_whole_are_counted(tmp_path):
    file = records(tmp_path)
    assert check_files([file, file], need="response").count == check_files([file, file], need="truth").count == 6


def test_a_run_with_a_record_that_cannot_be_used_does_not_begin(tmp_path):
    file = records(tmp_path, response=None)
    with pytest.raises(DataError, match=r"data\.jsonl, row 2"):
        train_sft(SftRecipe(data={"files": [file]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_parameters_batch_rows_memory_and_data_and_writes_nothing(tmp_path, capsys):
    file = records(tmp_path)
    settings = [
        "model=untrained",
        f"data.files={json.dumps([str(file)])}",
        "lora.rank=8",
        "rollout.generation_batch_size=8",
    ]
    assert dispatch(["rl", "tiny_rl", "--dry-run", "--processes", "2", "--set", *settings]) == 0
    said = capsys.readouterr().out
    for expected in (
        r"of which 77,824 are trained",
        "8 prompts x 8 answers = 64 answers in 1 update; 4 on each of 2 processes",
        "keys and values",
        "at most on each GPU",
        "multiple choice (image)",
        "    53.3 passes",  # 20 steps of 8 prompts, 3 records
        "3 records, all of them usable",
        "of which 4 are visual; answer 128): ",
    ):
        assert expected in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "data.jsonl"]


def test_a_dry_run_without_the_models_config_says_so_and_goes_on(capsys):
    settings = ["model=runs/nothing/model", "data.files=[]"]
    assert dispatch(["rl", "rl_8b", "--dry-run", "--processes", "8", "--set", *settings]) == 0
    said = capsys.readouterr().out
    assert "runs/nothing/model: no such folder" in said
    assert "Give --config FILE" in said
    assert "128 prompts x 8 answers = 1,024 answers" in said
    assert "memory" not in said.replace("parameters and memory", "")


def test_training_needs_a_folder_to_write_to():
    with pytest.raises(ConfigError, match="--output FOLDER is needed"):
        dispatch(["sft", "tiny_sft"])
