"""Plans for GPUs that are not at hand: whether a run fits, what would, and how long it takes, against sums by hand."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from onethinker.commands.dispatch import dispatch
from onethinker.core.errors import ConfigError
from onethinker.families.qwen3_vl_moe import Qwen3VLMoe
from onethinker.families.registry import family_of
from onethinker.inference.loading import load_meta_model
from onethinker.media.budget import MediaBudget
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.gpus import GPUS, find_gpu
from onethinker.training.memory import peak
from onethinker.training.network import Network, exchange_of
from onethinker.training.plan import make_plan
from onethinker.training.sharding import Sharding
from onethinker.training.timing import Load, estimate_step, time_lines
from tests.training.test_plan import CONFIGS

CONFIG_2B = CONFIGS / "qwen3_vl_2b.json"
ADAMW = "optimizer.kind=adamw"
CONFIG_8B = CONFIGS / "qwen3_vl_8b.json"
BUDGET = MediaBudget(max_frames=16, frame_max_pixels=64 * 1024, image_max_pixels=256 * 1024)


def load(recipe, gpu: str = "h100", config=CONFIG_8B, processes: int = 1) -> Load:
    model = load_meta_model("any/name", config=config)
    plan = make_plan(recipe, processes=processes, model=model, budget=BUDGET)
    return Load(recipe, plan.batch, plan.counts, plan.widths, plan.weights, GPUS[gpu])


def seconds(load: Load) -> dict[str, float]:
    return {part.name: part.seconds for part in estimate_step(load)}


def test_a_token_is_multiplied_with_all_weights_but_a_table_of_embeddings_that_is_no_head():
    for config, tied in ((CONFIG_2B, True), (CONFIG_8B, False)):
        model = load_meta_model("any/name", config=config)
        text = model.config.text_config
        weights = family_of(model).multiplied(model)
        table = text.vocab_size * text.hidden_size
        everything = sum(weight.numel() for _, weight in model.named_parameters())
        assert sum(weights.values()) == everything - table * (not tied)


def test_of_experts_a_token_meets_those_that_it_is_routed_to():
    class Config:
        class text_config:  # noqa: N801
            num_experts_per_tok, num_experts = 8, 128

    share = Qwen3VLMoe().used_share
    assert share("model.language_model.layers.0.mlp.experts.gate_up_proj", Config) == 8 / 128
    assert share("model.language_model.layers.0.self_attn.q_proj.weight", Config) == 1


def test_an_update_takes_three_times_forward_and_a_fourth_where_activations_are_made_again():
    kept, again = (load(SftRecipe(batch_size=4, gradient_checkpointing=on, dtype="bfloat16")) for on in (False, True))
    tokens, weights = 4 * kept.group_tokens, kept.weights["language"] + kept.weights["merger"]
    pairs = 4 * kept.group_tokens**2 / 2
    forward = (2 * weights * tokens + 4 * 36 * 4096 * pairs) / (0.4 * 989.5e12)
    assert seconds(kept)["update"] == pytest.approx(3 * forward)
    assert seconds(again)["update"] == pytest.approx(4 * forward)
    adapters = load(SftRecipe(batch_size=4, lora={"rank": 8}, dtype="bfloat16"))
    assert seconds(adapters)["update"] == pytest.approx(2 * forward, rel=0.01)
    assert seconds(load(SftRecipe(batch_size=4)))["update"] == pytest.approx(3 * forward * 989.5 / 67)


def test_a_token_step_reads_all_weights_and_the_keys_and_values_of_what_is_being_answered():
    rollout = {"generation_batch_size": 64, "group_size": 8, "max_new_tokens": 1000, "decode_batch_size": 32}
    asked = load(RlRecipe(rollout=rollout, dtype="bfloat16"), gpu="l4")
    prompt = asked.batch.prompt_tokens
    keys = 32 * (prompt + 8 * 500) * 2 * 36 * 1024 * 2
    read = (2 * asked.weights["language"] + keys) / (0.6 * 300e9)
    assert seconds(asked)["decode"] == pytest.approx(2 * 1000 * read)
    assert seconds(asked)["vision, rollout"] == pytest.approx(
        64 * 2 * asked.weights["vision"] * 4 * asked.batch.visual_tokens / (0.4 * 121e12)
    )
    few = load(RlRecipe(rollout={**rollout, "decode_batch_size": 1}, dtype="bfloat16"), gpu="b200", config=CONFIG_2B)
    assert seconds(few)["decode"] == pytest.approx(64 * 1000 * 28 * 0.5e-3), "launching the layers takes longer"


def test_no_reference_where_there_is_no_divergence_and_half_the_time_on_twice_the_processes():
    rollout = {"generation_batch_size": 64, "max_new_tokens": 500}
    assert "reference" not in seconds(load(RlRecipe(rollout=rollout, loss={"kl_coefficient": 0})))
    one, two = (sum(seconds(load(RlRecipe(rollout=rollout), processes=count)).values()) for count in (1, 2))
    assert two == pytest.approx(one / 2)
    recipe = RlRecipe(rollout=rollout)
    parts = estimate_step(load(recipe, processes=2))
    line = time_lines(parts, recipe, GPUS["h100"], 2)[0]
    assert f"{two * 100 / 3600:,.3g} h for the run, {two * 200 / 3600:,.3g} GPU hours" in line


def test_servers_sample_in_place_of_the_gpus_that_train():
    rollout = {"generation_batch_size": 64, "max_new_tokens": 500, "decode_batch_size": 8}
    here = seconds(load(RlRecipe(rollout=rollout), gpu="l4", processes=4))
    served = rollout | {"engine": "vllm", "vllm": {"servers": 2, "gpus_per_server": 2}}
    asked = load(RlRecipe(model="any/name", rollout=served), gpu="l4", processes=4)
    there = seconds(asked)
    # Each server has the prompts of two processes, and two GPUs for them: 32 prompts, 16 at once.
    keys = 16 * (asked.batch.prompt_tokens + 8 * 250) * 2 * 36 * 1024 * 4
    read = (4 * asked.weights["language"] + keys) / (0.6 * 300e9)
    products = 2 * asked.weights["language"] * 16 * 8 / asked.flops
    assert there["decode"] == pytest.approx(2 * 500 * max(read, products) / 2)
    assert there["prefill"] == pytest.approx(here["prefill"])
    assert there["vision, rollout"] == pytest.approx(here["vision, rollout"])
    assert there["scored again"] == pytest.approx(there["reference"])
    assert there["update"] == here["update"]


def test_a_server_holds_weights_and_what_it_answers_and_the_gpus_that_train_do_not():
    rollout = {"generation_batch_size": 64, "max_new_tokens": 500, "decode_batch_size": 8, "engine": "vllm"}
    recipe = RlRecipe(model="any/name", dtype="mixed", rollout=rollout | {"vllm": {"servers": 2, "gpus_per_server": 2}})
    model = load_meta_model("any/name", config=CONFIG_8B)
    plan = make_plan(recipe, processes=4, model=model, budget=BUDGET)
    assert "keys and values" not in {term.name for term in plan.memory}
    server, tokens = plan.server, plan.batch.prompt_tokens
    assert server is not None
    assert server.weights == 2 * 8_767_123_696
    # Four processes ask 8 prompts each at two servers; keys and values of 36 layers, 1,024 numbers each, in 2 bytes.
    assert (server.prompts, server.group) == (16, (tokens + 8 * 500) * 2 * 36 * 1024 * 2)
    assert server.update == 2 * 8_767_123_696, "weights are written as the server holds them"
    assert server.fitting_lines(GPUS["h100"])[0].startswith("servers fit  ")
    assert not server.fits(replace(GPUS["l4"], memory=8e9))
    few = server.fitting_lines(replace(GPUS["l4"], memory=10e9))[0]
    assert f"with {(20e9 - server.weights) / server.group:,.3g} of 16 prompts at once; the others wait" in few
    adapted = recipe.model_copy(update={"lora": RlRecipe(lora={"rank": 16}).lora})
    adapted = make_plan(adapted, processes=4, model=load_meta_model("any/name", config=CONFIG_8B), budget=BUDGET)
    assert adapted.server is not None
    assert adapted.server.update == 4 * sum(count.adapters for count in adapted.counts.values()) < 1e9
    [line, *_] = time_lines(estimate_step(load(recipe, processes=4)), recipe, GPUS["h100"], 4)
    words = ("h for the run", "GPU hours")
    hours, spent = (float(line.split(f" {word}")[0].split()[-1].replace(",", "")) for word in words)
    assert "on 4 x h100 and 4 for servers" in line
    assert spent == pytest.approx(8 * hours, rel=0.02)


def test_a_server_that_its_gpu_cannot_hold_is_refused(capsys):
    settings = ["model=any/name", "rollout.engine=vllm", "rollout.vllm={}", "lora={rank=8,parts=['language']}"]
    words = ["rl", "tiny_rl", "--dry-run", "--gpu", "l4", "--config", str(CONFIG_8B), "--set", *settings, "steps=10"]
    with pytest.raises(ConfigError, match="does not fit on"):
        dispatch([*words, "dtype=float32"])
    assert "too much     a server needs 3" in capsys.readouterr().out


def test_a_rollout_that_goes_on_beside_the_update_costs_what_is_longer():
    rollout = {"generation_batch_size": 64, "max_new_tokens": 500, "decode_batch_size": 64, "engine": "vllm"}
    parts = ("decode", "prefill", "vision, rollout")
    for servers, processes, is_longer in ((1, 16, True), (64, 1, False)):
        vllm = {"vllm": {"servers": servers}}
        strict, beside = (
            seconds(load(RlRecipe(model="any/name", rollout=rollout | vllm | {"lag": lag}), processes=processes))
            for lag in (0, 1)
        )
        longer = sum(strict[part] for part in parts) - strict["update"] - strict["vision, update"]
        assert (longer > 0) == is_longer
        assert sum(beside[part] for part in parts) == pytest.approx(max(0.0, longer))


def test_a_dry_run_names_the_servers_and_what_is_missing_for_them(capsys):
    vllm = 'rollout.vllm={command=["/no/vllm"],servers=2,gpus_per_server=4}'
    lines = said(capsys, "rl", "tiny_rl", "--set", "model=tiny", "rollout.engine=vllm", vllm)
    assert (
        "servers 2 of vLLM, 4 GPUs each, started by the run with '/no/vllm'; this machine does not have that program"
        in lines
    )
    assert any(line.startswith("steps ") and line.endswith(" asked at once") for line in lines)
    with pytest.raises(ConfigError, match="starts servers on one machine only, and this run has 4"):
        dispatch(["rl", "tiny_rl", "--dry-run", "--nodes", "4", "--set", "model=tiny", "rollout.engine=vllm", vllm])
    with pytest.raises(ConfigError, match="'untrained' is built in memory"):
        dispatch(["rl", "tiny_rl", "--dry-run", "--set", "model=untrained", "rollout.engine=vllm", vllm])
    with pytest.raises(ConfigError, match="adapters of the language model only"):
        dispatch(
            ["rl", "tiny_rl", "--dry-run", "--set", 'lora.parts=["vision"]', "model=tiny", "rollout.engine=vllm", vllm]
        )


def said(capsys, *words: str, fits: bool = True) -> list[str]:
    with nullcontext() if fits else pytest.raises(ConfigError, match="does not fit on h100"):
        assert dispatch([*words, "--dry-run"]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_dry_run_says_how_long_it_takes_and_that_it_fits(capsys):
    lines = said(capsys, "sft", "tiny_sft", "--gpu", "rtx4090", "--processes", "2")
    assert any(line.startswith("fits ") and "of rtx4090 (NVIDIA Ada" in line for line in lines)
    assert any(line.startswith("time ") and "on 2 x rtx4090" in line for line in lines)
    assert any(line.startswith("update ") for line in lines)


def test_what_does_not_fit_is_said_to_be_too_much_with_changes_that_do(capsys):
    settings = ["model=any/name", "steps=10", "batch_size=8", "gradient_checkpointing=true"]
    lines = said(capsys, "sft", "tiny_sft", "--gpu", "h100", "--config", str(CONFIG_8B), "--set", *settings, fits=False)
    (much,) = [line for line in lines if line.startswith("too much")]
    assert "do not fit into the 74.51 GiB of h100" in much
    offered = [line.removeprefix("would fit ") for line in lines if line.startswith("would fit")]
    (lora,) = [line for line in offered if line.startswith("lora.rank=32 dtype=bfloat16: ")]
    model = load_meta_model("any/name", config=CONFIG_8B)
    recipe = SftRecipe.load("tiny_sft", [*settings, "lora.rank=32", "dtype=bfloat16"])
    plan = make_plan(recipe, processes=1, model=model, budget=recipe.budget or MediaBudget())
    assert peak(list(plan.memory)) < GPUS["h100"].memory
    assert lora.endswith(" GiB")
    lines = said(
        capsys, "sft", "tiny_sft", "--gpu", "h100", "--config", str(CONFIG_8B), "--set", *settings, ADAMW, fits=False
    )
    offered = [line.removeprefix("would fit ").split(": ")[0] for line in lines if line.startswith("would fit")]
    processes = {words.split()[-1]: int(words.split()[1]) for words in offered if "--accelerate-config" in words}
    # Eight samples are for eight processes at most, and fsdp2 keeps all weights gathered, here in float32.
    assert list(processes) == ["fsdp2_full", "fsdp2_offload"]
    assert processes["fsdp2_offload"] <= processes["fsdp2_full"] <= 8


def test_what_would_fit_on_nodes_is_said_for_each_and_slower_sharding_only_where_it_saves(capsys):
    settings = ["model=any/name", "steps=10", "batch_size=64", "dtype=mixed", "gradient_checkpointing=true", ADAMW]
    words = ["sft", "tiny_sft", "--gpu", "h100", "--config", str(CONFIG_8B), "--nodes", "4", "--processes", "8"]
    lines = said(capsys, *words, "--network", "3200", "--set", *settings, fits=False)
    offered = [line.removeprefix("would fit ").split(": ") for line in lines if line.startswith("would fit --proc")]
    assert offered[0][0] == "--processes 8 --accelerate-config fsdp2"
    sizes = [float(size.split()[0]) for _, size in offered]
    assert sizes == sorted(sizes, reverse=True)
    assert len({*sizes}) == len(sizes)
    for flags, size in offered:
        lines = said(capsys, *words, *flags.split()[2:], "--network", "3200", "--set", *settings)
        assert any(line.startswith(f"fits {size}") for line in lines)


@pytest.mark.parametrize(("name", "near"), [("h101", "h100"), ("4090", "rtx4090"), ("NVIDIA H100", "")])
def test_gpus_are_found_by_name_and_an_unknown_one_is_answered_with_the_nearest(name, near):
    if not near:
        assert find_gpu(name).name == "h100"
        return
    with pytest.raises(ConfigError, match=near):
        find_gpu(name)


def test_a_run_takes_the_gpus_of_its_machine(tmp_path):
    with pytest.raises(ConfigError, match="--gpu needs --dry-run"):
        dispatch(["sft", "tiny_sft", "--gpu", "h100", "--output", str(tmp_path / "run")])


def test_a_collective_takes_as_long_as_its_slower_way():
    gpu = GPUS["h100"]
    assert Network(1, 8).seconds(8e9, gpu) == pytest.approx(7e9 / 450e9 / 0.7)
    # Four nodes of 400 GB/s: three quarters come from other nodes, 31 of 32 shares from other GPUs.
    assert Network(4, 8, 400e9).seconds(8e9, gpu) == pytest.approx(31 / 32 * 8e9 / 450e9 / 0.7)
    assert Network(4, 8, 50e9).seconds(8e9, gpu) == pytest.approx(6e9 / 50e9 / 0.7)


def test_sharded_weights_travel_at_every_row_and_whole_gradients_once_a_step():
    recipe = SftRecipe(batch_size=64, dtype="mixed", optimizer={"kind": "adamw"})
    asked = load(recipe, processes=8)
    language, others = asked.counts["language"].total, sum(asked.counts[part].total for part in ("vision", "merger"))
    whole = exchange_of(recipe, asked.counts, asked.batch, None, used=2)
    assert (whole.beside, whole.alone) == (0, 2 * 4 * (language + others))
    rows = asked.batch.rows
    sharded = exchange_of(recipe, asked.counts, asked.batch, Sharding("fsdp2"), used=2)
    assert (sharded.beside, sharded.alone) == (rows * (2 + 4) * language, 2 * 4 * others)
    full = exchange_of(recipe, asked.counts, asked.batch, Sharding("fsdp2", full=True), used=2)
    assert full.beside - sharded.beside == rows * 2 * language


def test_where_servers_sample_weights_travel_to_score_their_answers_and_once_to_them():
    rollout, full = {"generation_batch_size": 64, "max_new_tokens": 500}, Sharding("fsdp2", full=True)
    alone = {}
    for engine in ({}, {"engine": "vllm", "vllm": {"servers": 2}}):
        recipe = RlRecipe(model="any/name", dtype="mixed", rollout=rollout | engine, loss={"kl_coefficient": 0})
        asked = load(recipe, processes=8)
        alone[recipe.rollout.engine] = exchange_of(recipe, asked.counts, asked.batch, full, used=2).alone
    language, rows = asked.counts["language"].total, asked.batch.rows * asked.batch.updates
    # One gathering of all layers is now one for each row; the servers get float32.
    assert alone["vllm"] - alone["in_process"] == ((rows - 1) * 2 + 4) * language


def test_with_a_copy_in_each_node_layers_stay_inside_it_and_gradients_travel():
    recipe = SftRecipe(batch_size=640, dtype="mixed", optimizer={"kind": "adamw"})
    asked = load(recipe, processes=32)
    language = asked.counts["language"].total
    hybrid, full = Sharding("fsdp2", full=True, copies=4), Sharding("fsdp2", full=True)
    own, everywhere = (exchange_of(recipe, asked.counts, asked.batch, each, used=2) for each in (hybrid, full))
    assert (own.own_beside, own.alone) == (everywhere.beside, everywhere.alone)
    assert own.beside == 2 * 4 * language
    slow = Network(4, 8, 1e9)
    of_each = [
        next(
            part.seconds
            for part in estimate_step(replace(asked, network=slow, sharding=each))
            if "exchange" in part.name
        )
        for each in (hybrid, full)
    ]
    # Over the slow network go 8 bytes of each weight a step, not 2 x 2 of layers and 4 of gradients a row.
    assert asked.batch.rows > 1
    assert of_each[0] < 1.2 * of_each[1] / asked.batch.rows
    held = [
        next(
            term.size
            for term in make_plan(
                recipe, processes=32, model=load_meta_model("any/name", config=CONFIG_8B), budget=BUDGET, sharding=each
            ).memory
            if term.name == "moments of the optimizer"
        )
        for each in (hybrid, full)
    ]
    others = 8 * sum(asked.counts[part].total for part in ("vision", "merger"))
    assert held == [others + 8 * language / 8, others + 8 * language / 32]


@pytest.mark.parametrize("dry", [("--dry-run",), ()], ids=["plan", "run"])
def test_a_copy_in_each_node_needs_processes_to_share_it(tmp_path, dry):
    words = ["sft", "tiny_sft", "--nodes", "2", "--accelerate-config", "fsdp2_hybrid", "--set", ADAMW]
    place = [] if dry else ["--node-rank", "0", "--main-address", "localhost", "--output", str(tmp_path / "run")]
    with pytest.raises(ConfigError, match="and each node has only one: raise --processes"):
        dispatch([*words[:2], *place, *dry, *words[2:]])


def test_a_plan_of_several_nodes_counts_the_network_and_refuses_what_it_is_not_told(capsys):
    settings = ["model=any/name", "steps=10", "batch_size=64", "dtype=mixed", "gradient_checkpointing=true", ADAMW]
    words = ["sft", "tiny_sft", "--gpu", "h100", "--config", str(CONFIG_8B), "--nodes", "4", "--processes", "8"]
    words += ["--accelerate-config", "fsdp2_full"]
    with pytest.raises(ConfigError, match="--nodes 4 --gpu h100 needs --network"):
        dispatch([*words, "--dry-run", "--set", *settings])
    lines = said(capsys, *words, "--network", "3200", "--set", *settings)
    assert any(line.startswith("steps 10, each of 64 samples in one update; 2 on each of 32") for line in lines)
    assert any(line.startswith("time ") and "on 32 x h100" in line for line in lines)
    fast, slow = (
        float(
            next(
                line for line in said(capsys, *words, "--network", gbits, "--set", *settings) if "exchange " in line
            ).split()[1]
        )
        for gbits in ("3200", "10")
    )
    assert slow > 10 * fast
    with pytest.raises(ConfigError, match="batch_size = 48 is not divisible by 32 processes"):
        dispatch([*words, "--dry-run", "--network", "3200", "--set", *settings, "batch_size=48"])
    with pytest.raises(ConfigError, match="--network must be more than 0 gigabits per second"):
        dispatch(["sft", "tiny_sft", "--dry-run", "--network", "3200"])
