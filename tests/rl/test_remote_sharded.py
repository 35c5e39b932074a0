"""Rollouts by servers while FSDP2 shares the model between two processes, against one process with everything."""

import pytest

from onethinker.rl.loop import train_rl
from onethinker.training.state.run_folder import RunFolder
from tests.rl.test_remote import recipe_of
from tests.rl.vllm_server import vllm_server
from tests.training.test_sharding import train_sharded

LORA = {"rank": 4, "parts": ["language"]}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("lora", "config"), [(None, "fsdp2_full"), pytest.param(LORA, "fsdp2", marks=pytest.mark.long)]
)
def test_with_servers_sharded_processes_learn_what_one_learns_and_never_gather_the_model(
    tmp_path, taught, lora, config
):
    # Long answers of every fourth prompt are rows of their own: processes have different numbers of rows to score.
    settings = {"save_every": 1, "optimizer": {"learning_rate": 1e-3}}
    rollout = {"generation_batch_size": 4, "patience_s": 100}
    with vllm_server(taught.model, thorough=True) as server:
        recipe = recipe_of(taught, server, lora=lora, rollout=rollout, **settings)
        recipe = recipe.model_copy(update={"max_row_tokens": 128})
        server.recipe = recipe
        train_rl(recipe, tmp_path / "one")
    with vllm_server(taught.model, thorough=True) as server:
        server.recipe = recipe
        right = server.answers

        def restart(body):
            reply = right(body)
            if lora is None and len(server.bodies) == 6:
                server.load(server.folder)
                server.version = "default"
            return reply

        server.answers = restart
        addressed = recipe.model_copy(
            update={"rollout": recipe.rollout.model_copy(update={"endpoints": (server.address,)})}
        )
        reports = train_sharded(addressed, tmp_path / "two", config)
    assert [report["gathered"] for report in reports] == [0, 0]
    assert all(report["resumed_equal"] and report["weights_equal"] for report in reports)
    if lora is not None:
        assert all(report["in_a_folder"] < report["sharded"] / 4 for report in reports), "adapters alone"
    rows = [RunFolder(folder).rows() for folder in (tmp_path / "one", tmp_path / "two")]
    assert [row["updates"] for row in rows[1]] == [1, 1, 1]
    # Also after the restart in the second step the server has the weights of each step before its answers count.
    assert all(row["engine_difference"]["max"] < 1e-4 for row in rows[1])
    assert all(row["ratio"] == pytest.approx(1, abs=1e-4) for row in rows[1])
    assert [row["answers_by_version"] for row in rows[1]] == [{"0": 8}, {"1": 8}, {"2": 8}]
    for name in ("loss", "grad_norm"):
        assert [row[name] for row in rows[0]] == pytest.approx([row[name] for row in rows[1]], rel=1e-3, abs=1e-6)
