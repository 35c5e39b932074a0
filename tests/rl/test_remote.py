"""Rollouts by servers over HTTP, against one that speaks vLLM's routes with a real tiny model."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onethinker.core.errors import ConfigError, EngineError
from onethinker.inference.loading import load_local
from onethinker.rl.in_process import InProcessSampler
from onethinker.rl.loop import train_rl
from onethinker.rl.weights import SHARED_MEMORY, WholeWeights, add_tied_head
from onethinker.storage.rollouts import read_rollouts
from onethinker.training.config import RlRecipe
from tests.rl.vllm_server import vllm_server


def recipe_of(taught, *servers, **settings) -> RlRecipe:
    rollout = settings.pop("rollout", {})
    return RlRecipe(
        model=taught.model,
        steps=3,
        max_row_tokens=512,
        data={"files": [taught.questions]},
        rollout={
            "generation_batch_size": 2,
            "group_size": 2,
            "max_new_tokens": 32,
            "engine": "vllm",
            "endpoints": [server.address for server in servers],
            "patience_s": 20,
            **rollout,
        },
        grading={"workers": 0},
        loss={"kl_coefficient": 0, **settings.pop("loss", {})},
        optimizer={"learning_rate": 1e-2, "warmup_steps": 0, **settings.pop("optimizer", {})},
        **settings,
    )


def rows_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_each_prompt_is_asked_once_for_its_answers_and_the_server_has_the_weights_of_each_step(tmp_path, taught):
    before = set(SHARED_MEMORY.glob("onethinker-*"))
    with vllm_server(taught.model) as server:
        train_rl(recipe_of(taught, server), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    assert [row["tasks"]["multiple choice"]["accuracy"] for row in rows] == [0.5] * 3
    assert [row["updates"] for row in rows] == [1, 1, 1]
    # The server's own log-probabilities are those of the model in training: before each step, and after weights moved.
    for row in rows:
        assert row["engine_difference"]["max"] < 1e-4
        assert row["ratio"] == pytest.approx(1, abs=1e-4)
    assert len(server.bodies) == 6
    assert {body["n"] for body in server.bodies} == {2}
    seeds = sorted(body["seed"] for body in server.bodies)
    assert all(later - earlier >= 2 for earlier, later in pairwise(seeds))
    # Four times: the weights that the run begins with, and those after each step.
    assert server.paths.count("/collective_rpc") == 4
    assert server.paths.count("/pause") == server.paths.count("/resume") == 4
    assert set(SHARED_MEMORY.glob("onethinker-*")) == before, "the weights are removed at the end"


def test_a_server_that_keeps_its_old_weights_shows_in_the_journal(tmp_path, taught):
    with vllm_server(taught.model, forgets=True) as server:
        train_rl(recipe_of(taught, server), tmp_path / "run")
    first, *later = rows_of(tmp_path / "run")
    assert first["engine_difference"]["max"] < 1e-4
    assert all(row["engine_difference"]["max"] > 0.01 for row in later)


def weights_read_by(server) -> list[dict[str, torch.Tensor]]:
    """What lies in each folder that the server reads from now on."""
    right, read = server.load, []

    def load(folder):
        read.append({k: v for file in Path(folder).glob("*.safetensors") for k, v in load_file(file).items()})
        right(folder)

    server.load = load
    return read


def test_servers_are_sent_weights_in_the_dtype_that_they_compute_in(tmp_path, taught):
    recipes, read = {}, {}
    for dtype in ("float32", "bfloat16"):
        with vllm_server(taught.model, dtype=dtype) as server:
            read[dtype] = weights_read_by(server)
            recipes[dtype] = recipe_of(taught, server, dtype="mixed")
            train_rl(recipes[dtype], tmp_path / dtype)
        assert server.paths.count("/server_info") == 1
    exact, rounded = read["float32"], read["bfloat16"]
    assert {weight.dtype for weight in exact[0].values()} == {torch.float32}
    assert {weight.dtype for weight in rounded[0].values() if weight.ndim > 1} == {torch.bfloat16}
    assert {weight.dtype for weight in rounded[0].values() if weight.ndim == 1} == {torch.float32}
    # Before the first step both have the same weights, which the server would have rounded itself.
    assert all(weight.equal(exact[0][name].to(weight.dtype)) for name, weight in rounded[0].items())
    exact_bytes, rounded_bytes = (sum(weight.nbytes for weight in each[-1].values()) for each in (exact, rounded))
    assert rounded_bytes < 0.51 * exact_bytes
    # What the model in training saves stays in float32.
    saved = load_file(tmp_path / "bfloat16/checkpoints/step-00000003/model/model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.float32}
    # The policy is the model in training all the same, and what rounding costs the server is in the journal.
    rows = rows_of(tmp_path / "bfloat16")
    assert [row["ratio"] for row in rows] == pytest.approx([1] * 3, abs=1e-4)
    assert all(1e-4 < row["engine_difference"]["max"] < 0.5 for row in rows)


@pytest.mark.parametrize("other", [{"dtype": "float32"}, {"dtype": "bfloat16", "tells_dtype": False}])
def test_weights_keep_their_dtype_where_servers_differ_or_one_does_not_tell(tmp_path, taught, other):
    with vllm_server(taught.model, dtype="bfloat16") as server, vllm_server(taught.model, **other) as second:
        read = weights_read_by(server)
        train_rl(recipe_of(taught, server, second, dtype="mixed"), tmp_path / "run")
    assert {weight.dtype for weights in read for weight in weights.values()} == {torch.float32}


def test_a_server_that_dies_loses_nothing_and_the_other_answers(tmp_path, taught, caplog):
    with vllm_server(taught.model, dies_at=3) as mortal, vllm_server(taught.model) as other:
        train_rl(recipe_of(taught, mortal, other), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    assert [row["updates"] for row in rows] == [1, 1, 1]
    assert [row["tasks"]["multiple choice"]["answers"] for row in rows] == [4, 4, 4]
    assert len(mortal.bodies) == 2
    assert len(mortal.bodies) + len(other.bodies) == 6
    assert f"{mortal.address} does not answer" in caplog.text
    assert f"{mortal.address} has missed the weights" in caplog.text


def test_a_server_that_was_restarted_is_told_again_before_its_answers_count(tmp_path, taught):
    with vllm_server(taught.model) as server:

        def restart(row):
            if row["step"] == 1:
                server.load(server.folder)
                server.version = "default"

        train_rl(recipe_of(taught, server), tmp_path / "run", on_step=restart)
    assert all(row["engine_difference"]["max"] < 1e-4 for row in rows_of(tmp_path / "run"))
    assert len(server.bodies) > 6, "what it answered with other weights was asked again"


def test_a_server_reads_weights_once_for_all_processes_that_find_it_without_them(taught):
    with vllm_server(taught.model) as server:
        right, reads = server.load, []

        def slow(folder):
            time.sleep(0.5)
            reads.append(folder)
            right(folder)

        server.load = slow
        route = WholeWeights(timeout_s=60)
        with ThreadPoolExecutor() as pool:
            first = pool.submit(route.load, server.address, "step 1", Path(taught.model))
            while "/update_weight_version" not in server.paths:
                time.sleep(0.01)
            pool.submit(route.load, server.address, "step 1", Path(taught.model)).result()
            first.result()
        assert reads == [taught.model]
        assert server.version == "step 1"
        assert server.paths.count("/pause") == server.paths.count("/resume") == 1


def test_when_all_servers_are_gone_the_run_waits_says_so_and_ends_with_the_step_unsaved(tmp_path, taught, caplog):
    with vllm_server(taught.model, dies_at=3) as server:
        recipe = recipe_of(taught, server, rollout={"patience_s": 4.0}, save_every=1)
        with pytest.raises(EngineError, match="none of 1 servers answers"):
            train_rl(recipe, tmp_path / "run")
    assert "none of 1 servers answers: waiting, for up to 4 s" in caplog.text
    assert [row["step"] for row in rows_of(tmp_path / "run")] == [1]
    with vllm_server(taught.model) as server:  # a new server at a new address: the run goes on where it was
        train_rl(recipe_of(taught, server, save_every=1), tmp_path / "run")
    assert [row["step"] for row in rows_of(tmp_path / "run")] == [1, 2, 3]


def test_adapters_are_loaded_under_a_name_of_their_own_each_step(tmp_path, taught):
    lora = {"rank": 4, "parts": ["language"]}
    with vllm_server(taught.model) as server:
        server.recipe = recipe_of(taught, server, lora=lora)
        train_rl(server.recipe, tmp_path / "run")
    assert all(row["engine_difference"]["max"] < 1e-4 for row in rows_of(tmp_path / "run"))
    assert len({body["model"] for body in server.bodies}) == 3, "each step asks the adapters of its own"
    assert len(server.adapters) == 1, "those before are forgotten"
    assert "/collective_rpc" not in server.paths


def test_other_prompt_tokens_are_an_error_with_both_numbers(tmp_path, taught):
    with vllm_server(taught.model) as server:
        right = server.answers
        server.answers = lambda body: right(body) | {"prompt_token_ids": [1, 2, 3]}
        with pytest.raises(
            EngineError, match=r"the server read 3 prompt tokens, but the model in training reads \d\d+"
        ):
            train_rl(recipe_of(taught, server), tmp_path / "run")


def test_a_server_without_the_routes_is_an_error_that_says_how_to_start_it(tmp_path, taught):
    with vllm_server(taught.model) as server:
        right = server.reply
        server.reply = lambda path, body: (404, {}) if path == "/weight_info" else right(path, body)
        with pytest.raises(EngineError, match="VLLM_SERVER_DEV_MODE=1"):
            train_rl(recipe_of(taught, server), tmp_path / "run")


def test_the_correction_weighs_tokens_by_what_the_server_says_of_them(tmp_path, taught):
    def gradient(cap, shift):
        with vllm_server(taught.model) as server:
            right = server.answers

            def shifted(body):
                reply = right(body)
                for choice in reply["choices"]:
                    for token in choice["logprobs"]["content"]:
                        token["logprob"] += shift
                return reply

            server.answers = shifted
            folder = tmp_path / f"run {cap} {shift}"
            train_rl(
                recipe_of(taught, server, loss={"rollout_correction": cap}, optimizer={"max_grad_norm": 1e9}), folder
            )
        return rows_of(folder)[0]["grad_norm"]

    plain = gradient(None, -0.5)
    # The server says that every token was less likely by half a nat: the policy's are weighed by e^0.5, cut at 1.2.
    assert gradient(10.0, -0.5) == pytest.approx(plain * 1.6487, rel=1e-3)
    assert gradient(1.2, -0.5) == pytest.approx(plain * 1.2, rel=1e-3)
    assert gradient(10.0, 0.0) == pytest.approx(plain, rel=1e-3)


def test_adapters_of_other_parts_are_refused(taught):
    with vllm_server(taught.model) as server, pytest.raises(ValueError, match=r'lora.parts = \["language"\]'):
        recipe_of(taught, server, lora={"parts": ["language", "vision"]})


def test_engine_and_endpoints_go_together():
    with pytest.raises(ValueError, match="goes together"):
        RlRecipe(rollout={"engine": "vllm"})
    with pytest.raises(ValueError, match="goes together"):
        RlRecipe(rollout={"endpoints": ["http://127.0.0.1:1/v1"]})
    with pytest.raises(ValueError, match="rollout_correction needs"):
        RlRecipe(loss={"rollout_correction": 2.0})
    with pytest.raises(ValueError, match="may be listed once only"):
        RlRecipe(rollout={"engine": "vllm", "endpoints": ["http://a:1/v1", "http://a:1/v1"]})


def test_a_tied_head_is_written_under_its_own_name_and_listed(tmp_path):
    engine = load_local("untrained", device="cpu", dtype="float32")
    model = engine.model
    assert model.lm_head.weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path, max_shard_size="500KB")
    written = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert "lm_head.weight" not in written
    add_tied_head(tmp_path, model, None)
    listed = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert listed == written | {"lm_head.weight": "tied_head.safetensors"}
    assert load_file(tmp_path / "tied_head.safetensors")["lm_head.weight"].equal(model.lm_head.weight)

    # Weights that were gathered from several processes.
    gathered = {name: value.detach() + 1 for name, value in model.state_dict().items()}
    add_tied_head(tmp_path, model, gathered)
    assert load_file(tmp_path / "tied_head.safetensors")["lm_head.weight"].equal(model.lm_head.weight + 1)

    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    (tmp_path / "tied_head.safetensors").unlink()
    add_tied_head(tmp_path, model, None)
    assert not (tmp_path / "tied_head.safetensors").exists(), "a head of its own is among the weights"


def seeds_of(server) -> list[list[int]]:
    """The seeds of the prompts of each step, which has two."""
    seeds = [body["seed"] for body in server.bodies]
    return [sorted(seeds[first : first + 2]) for first in range(0, len(seeds), 2)]


def test_with_a_lag_the_next_batch_is_answered_while_this_one_is_learned_from(tmp_path, taught):
    asked = []
    with vllm_server(taught.model) as server:
        recipe = recipe_of(taught, server, rollout={"lag": 1}, log={"rollouts_mb": 1})
        train_rl(recipe, tmp_path / "late", on_step=lambda row: asked.append(len(server.bodies)))
    with vllm_server(taught.model) as strict:
        train_rl(recipe_of(taught, strict), tmp_path / "strict")
    rows, strict_rows = rows_of(tmp_path / "late"), rows_of(tmp_path / "strict")
    assert asked == [4, 6, 6], "the prompts of a step are answered before the update of the one before has ended"
    assert seeds_of(server) == seeds_of(strict), "the order of the data is the same"
    assert [row["answers_by_version"] for row in rows] == [{"0": 4}, {"0": 4}, {"1": 4}]
    assert [row["answers_by_version"] for row in strict_rows] == [{"0": 4}, {"1": 4}, {"2": 4}]
    assert [group["policy_version"] for group in read_rollouts(tmp_path / "late")] == [0, 0, 0, 0, 1, 1]
    # The update between shows in the difference, and π_old is of the model that is updated.
    assert rows[0]["engine_difference"]["max"] < 1e-4
    assert all(row["engine_difference"]["max"] > 0.01 for row in rows[1:])
    assert all(row["ratio"] == pytest.approx(1, abs=1e-4) for row in rows)
    assert rows[0]["loss"] == strict_rows[0]["loss"]


def test_a_run_with_a_lag_that_is_stopped_goes_on_with_the_same_prompts(tmp_path, taught):
    def stop(row):
        if row["step"] == 2:
            raise KeyboardInterrupt

    with vllm_server(taught.model) as server:
        recipe = recipe_of(taught, server, rollout={"lag": 1}, save_every=1)
        train_rl(recipe, tmp_path / "whole")
        whole = seeds_of(server)
        server.bodies.clear()
        with pytest.raises(KeyboardInterrupt):
            train_rl(recipe, tmp_path / "run", on_step=stop)
        server.bodies.clear()
        train_rl(recipe, tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 2, 3]
    # Step 2 was not saved. It is asked again by the weights after step 1, which no lag has sampled yet, then step 3.
    assert seeds_of(server) == whole[1:]
    assert [row["answers_by_version"] for row in rows] == [{"0": 4}, {"1": 4}, {"1": 4}]


def test_with_a_lag_a_batch_that_nobody_answers_costs_no_step_that_was_learned(tmp_path, taught):
    with vllm_server(taught.model, dies_at=3) as server:
        recipe = recipe_of(taught, server, rollout={"lag": 1, "patience_s": 4.0}, save_every=1)
        with pytest.raises(EngineError, match="none of 1 servers answers"):
            train_rl(recipe, tmp_path / "run")
    assert [row["step"] for row in rows_of(tmp_path / "run")] == [1]


def test_a_lag_needs_servers_or_a_sampler_that_can_begin(tmp_path, taught):
    with pytest.raises(ValueError, match='lag = 1 needs engine = "vllm"'):
        RlRecipe(rollout={"lag": 1})
    with (
        vllm_server(taught.model) as server,
        pytest.raises(ConfigError, match=r"a method `begin`, and InProcessSampler does not have one"),
    ):
        train_rl(recipe_of(taught, server, rollout={"lag": 1}), tmp_path / "run", open_sampler=InProcessSampler)
