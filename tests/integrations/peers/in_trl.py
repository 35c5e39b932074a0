"""TRL's own GRPO trainer takes a step by our reward: run where TRL is installed, by `make test-integrations`."""

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from onethinker.families.tiny import build_tiny
from onethinker.integrations.trl import make_reward

QUESTION = [{"role": "user", "content": [{"type": "text", "text": "How many?"}]}]


def test_trl_trains_by_our_reward_and_logs_it(tmp_path):
    model, processor = build_tiny(0)
    graded: list[float | None] = []
    columns_seen: set[str] = set()

    def onethinker_reward(completions, **columns):
        columns_seen.update(columns)
        rewards = make_reward()(completions, **columns)
        graded.extend(rewards)
        return rewards

    row = {"prompt": QUESTION, "problem_type": "numerical", "data_type": "image", "answer": "3"}
    settings = GRPOConfig(
        str(tmp_path),
        use_cpu=True,
        bf16=False,
        max_steps=1,
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=4,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
    )
    trainer = GRPOTrainer(model, onethinker_reward, settings, Dataset.from_list([row] * 2), processing_class=processor)
    trainer.train()
    assert {"problem_type", "data_type", "answer"} <= columns_seen
    assert len(graded) == 2
    logged = next(row for row in trainer.state.log_history if "rewards/onethinker_reward/mean" in row)
    assert logged["rewards/onethinker_reward/mean"] == sum(graded) / 2
