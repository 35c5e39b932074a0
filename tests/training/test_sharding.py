"""FSDP2 of two processes on this machine against one process with everything: the same weights, moments and journal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from onethinker.commands.dispatch import dispatch
from onethinker.core.errors import ConfigError
from onethinker.families.registry import family_of
from onethinker.inference.loading import load_meta_model
from onethinker.rl.loop import train_rl
from onethinker.training.config import BUILT_IN, Recipe, RlRecipe, SftRecipe
from onethinker.training.parallel.choice import choose_backend
from onethinker.training.parallel.fsdp2 import Fsdp2
from onethinker.training.parallel.single import Replicated
from onethinker.training.sft import train_sft
from onethinker.training.sharding import Sharding, read_sharding
from onethinker.training.state.run_folder import RunFolder
from tests.training.test_adapters import rl_recipe
from tests.training.test_runs import SFT

LORA = {"rank": 4, "alpha": 8.0, "parts": ["language", "merger"]}


FSDP2_ENVIRONMENT = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "WORLD_SIZE": "2"}


def train_sharded(recipe: Recipe, folder: Path, config: str = "fsdp2") -> list[dict]:
    """Train in two processes with a config that ships, and return what each of them held when it took the run up
    again.
    """
    file = folder.with_suffix(".json")
    file.write_text(recipe.model_dump_json())
    stage = "rl" if isinstance(recipe, RlRecipe) else "sft"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--config_file"]
    worker = [str(Path(__file__).with_name("sharded.py")), stage, str(file), str(folder)]
    done = subprocess.run(
        [*launcher, str(BUILT_IN / f"{config}.yaml"), *worker],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"report-{process}.json").read_text()) for process in (0, 1)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("sft", "fsdp2"),
        ("sft", "fsdp2_offload"),
        pytest.param("rl", "fsdp2", marks=pytest.mark.long),
        pytest.param("rl", "fsdp2_full", marks=pytest.mark.long),
        ("rl with adapters", "fsdp2"),
        pytest.param("rl with adapters", "fsdp2_offload", marks=pytest.mark.long),
    ],
)
def test_a_model_sharded_over_two_processes_learns_what_a_whole_one_learns(tmp_path, taught, kind, config):
    # Rows of 256 tokens: the processes have different numbers of them, and of pictures and clips in them.
    sft = SftRecipe(**{**SFT, "steps": 2, "save_every": 1, "batch_size": 7, "max_row_tokens": 256})
    recipe = {
        "sft": sft,
        "rl": rl_recipe(taught, steps=2, max_row_tokens=128),
        "rl with adapters": rl_recipe(taught, steps=2, lora=LORA, gradient_checkpointing=True),
    }[kind]
    train = train_sft if kind == "sft" else train_rl
    one, two = tmp_path / "one", tmp_path / "two"
    train(recipe, one)
    for report in train_sharded(recipe, two, config):
        assert report["mine"] * 2 == report["sharded"] > 800_000
        assert report["resumed_equal"]
        assert report["weights_equal"]
        assert report["moments_equal"]
    expected, found = (load_file(folder / "model/model.safetensors") for folder in (one, two))
    assert expected.keys() == found.keys()
    assert max(float((expected[name] - found[name]).abs().mean()) for name in expected) < 1e-5
    rows = [RunFolder(folder).rows() for folder in (one, two)]
    assert rows[0][0]["grad_norm"] > 0
    for name in ("loss", "grad_norm"):
        assert [row[name] for row in rows[0]] == pytest.approx([row[name] for row in rows[1]], rel=1e-3, abs=1e-6)
    shards = sorted((two / "checkpoints/step-00000002/optimizer").iterdir())
    assert len(shards) == 2
    if kind == "sft":
        # The second process writes half of two moments of what is sharded; the first one also what both hold in full.
        assert shards[1].stat().st_size == pytest.approx(4 * report["sharded"], rel=0.05)
        goes_on_in_one_process(recipe.model_copy(update={"steps": 3}), one, two)


def goes_on_in_one_process(recipe: SftRecipe, one: Path, two: Path) -> None:
    """Hold that what two processes began one can end, from their shards of the optimizer."""
    for folder in (one, two):
        train_sft(recipe, folder, allow_changes=True)
    assert (two / "checkpoints/step-00000003/optimizer.safetensors").is_file()
    expected, found = (load_file(folder / "checkpoints/step-00000003/optimizer.safetensors") for folder in (one, two))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert float((value - found[name]).norm()) < 1e-3 * (1e-6 + float(value.norm())), name


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("refresh", "lora"), [(None, None), (2, None), pytest.param(2, LORA, marks=pytest.mark.long)])
def test_a_sharded_reference_says_what_a_whole_one_says_and_takes_half_the_memory(tmp_path, taught, refresh, lora):
    # Rows of 128 tokens: one process has fewer of them and still takes part whenever layers are gathered.
    loss = {"kl_coefficient": 0.1, "reference_refresh": refresh}
    rollout = {"generation_batch_size": 4, "group_size": 4, "max_new_tokens": 32, "max_refills": 0}
    kept = {"min_accuracy": -1, "max_accuracy": 2}
    recipe = rl_recipe(taught, steps=3, max_row_tokens=128, loss=loss, lora=lora, rollout=rollout | kept)
    one, two = tmp_path / "one", tmp_path / "two"
    train_rl(recipe, one)
    reports = train_sharded(recipe, two)
    assert all(report["resumed_equal"] for report in reports)
    rows = [RunFolder(folder).rows() for folder in (one, two)]
    assert [row["kl"] for row in rows[0]] == pytest.approx([row["kl"] for row in rows[1]], rel=1e-3, abs=1e-6)
    kl = [row["kl"] for row in rows[1]]
    assert kl[0] == pytest.approx(0, abs=1e-6)
    assert kl[1] > 1e-6
    assert (kl[2] > 1e-6) is (refresh is None)
    model = load_meta_model(recipe.model)
    family = family_of(model)
    size = {"language": 0, "vision": 0, "merger": 0}
    for name, weight in model.named_parameters():
        size[family.part_of(name)] += 4 * weight.numel()
    if lora is None:
        # Vision tower and mergers are whole in each process.
        assert [report["reference_bytes"] for report in reports] == [
            pytest.approx(size["language"] / 2 + size["vision"] + size["merger"], rel=1e-3)
        ] * 2


def test_the_command_line_leads_to_fsdp2_which_refuses_what_it_cannot_shard(tmp_path):
    command = [
        sys.executable,
        "-m",
        "onethinker",
        "sft",
        "tiny_sft",
        "--processes",
        "2",
        "--accelerate-config",
        "fsdp2",
    ]
    settings = ["--output", str(tmp_path / "run"), "--set", "optimizer.kind=muon"]
    done = subprocess.run([*command, *settings], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs unsharded matrices" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("environment", "recipe", "said"),
    [
        ({"FSDP_VERSION": "1"}, SftRecipe(), "fsdp_version: 2"),
        ({}, SftRecipe(lora={"four_bit": True}), "all weights in one dtype"),
        ({}, SftRecipe(optimizer={"kind": "muon"}), "needs unsharded matrices"),
        ({}, SftRecipe(optimizer={"kind": "adafactor"}), "needs unsharded matrices"),
        ({"WORLD_SIZE": "1"}, SftRecipe(), "there is only one"),
        ({"FSDP_SHARDING_STRATEGY": "HYBRID_SHARD"}, SftRecipe(), "and each node has only one: raise --processes"),
    ],
    ids=["first fsdp", "4 bits", "muon", "adafactor", "one process", "one process a node"],
)
def test_what_fsdp2_cannot_shard_is_refused_with_what_to_do(monkeypatch, environment, recipe, said):
    for name, value in {**FSDP2_ENVIRONMENT, **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        choose_backend(recipe)


@pytest.mark.parametrize(
    ("text", "sharding"),
    [
        ("distributed_type: FSDP\nfsdp_config:\n  fsdp_version: 2\n", Sharding("fsdp2", full=True)),
        ("distributed_type: FSDP\nfsdp_config:\n  fsdp_reshard_after_forward: False\n", Sharding("fsdp2")),
        (
            '{"distributed_type": "FSDP", "fsdp_config": {"fsdp_offload_params": true}}',
            Sharding("fsdp2", full=True, offload=True),
        ),
        ("distributed_type: FSDP\n# fsdp_offload_params: true\n", Sharding("fsdp2", full=True)),
        (
            "distributed_type: FSDP\nfsdp_config:\n  fsdp_reshard_after_forward: no\n  fsdp_offload_params: yes\n",
            Sharding("fsdp2", offload=True),
        ),
        (
            "distributed_type: FSDP\nfsdp_config:\n  fsdp_sharding_strategy: HYBRID_SHARD\n",
            Sharding("fsdp2", full=True, copies=None),
        ),
        (
            "distributed_type: FSDP\nfsdp_config:\n  fsdp_sharding_strategy: 4\n",
            Sharding("fsdp2", full=True, copies=None),
        ),
        ("distributed_type: DEEPSPEED\n", Sharding("zero2")),
        ("distributed_type: MULTI_GPU\n", None),
    ],
    ids=[
        "as accelerate has it",
        "gathered",
        "json",
        "commented out",
        "yes and no",
        "hybrid",
        "hybrid by number",
        "deepspeed",
        "copies",
    ],
)
def test_what_a_config_of_accelerate_lets_processes_share(tmp_path, text, sharding):
    (tmp_path / "config").write_text(text)
    assert read_sharding(tmp_path / "config") == sharding


def test_a_hybrid_that_fsdp2_does_not_have_is_refused(tmp_path):
    (tmp_path / "config").write_text(
        "distributed_type: FSDP\nfsdp_config:\n  fsdp_sharding_strategy: HYBRID_SHARD_ZERO2\n"
    )
    with pytest.raises(ConfigError, match="HYBRID_SHARD and fsdp_reshard_after_forward: false"):
        read_sharding(tmp_path / "config")


def test_fsdp2_is_chosen_only_when_accelerate_says_so(monkeypatch):
    assert choose_backend(SftRecipe()) is Replicated
    for name, value in FSDP2_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert choose_backend(SftRecipe()) is Fsdp2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--accelerate-config", "fsdp2"], "set --processes"),
        (
            ["--accelerate-config", "x.yaml", "--processes", "2"],
            "There are: deepspeed_zero2, fsdp2, fsdp2_full, fsdp2_hybrid, fsdp2_offload",
        ),
    ],
    ids=["one process", "no file"],
)
def test_a_config_of_accelerate_that_cannot_be_followed_is_refused(tmp_path, arguments, said):
    with pytest.raises(ConfigError, match=said):
        dispatch(["sft", "tiny_sft", "--output", str(tmp_path / "run"), *arguments])
