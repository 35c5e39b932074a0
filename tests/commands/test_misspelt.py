"""The nearest right name is offered for a misspelt one, before torch is imported."""

import pytest

from onethinker.cli import main
from tests.commands.command_lines import TINY_EVALUATION, TRAIN, told

MISSPELT = [
    (("ask", "picture.png", "?", "--model", "untrained", "--task", "spacial grounding"), "'spatial grounding'"),
    (("ask", "picture.png", "?", "--model", "untrained", "--task", "spatial_grounding"), "'spatial grounding'"),
    (("ask", "picture.png", "?", "--model", "untrained", "--task", "grounding"), "'spatial grounding'? There are"),
    (("ask", "picture.png", "?", "--model", "untrained", "--task", "detection"), "'spatial grounding'"),
    (("ask", "picture.png", "?", "--model", "untrained", "--task", "VQA"), "'multiple choice' or 'open-ended'"),
    (("ask", "picture.png", "?", "--model", "untrained", "--task", "segmentatoin"), "'segmentation'"),
    (("ask", "picture.png", "?", "--model", "tinny"), "'tiny'"),
    (("ask", "pictur.png", "?", "--model", "untrained"), "'picture.png'"),
    (("ask", "picture.png", "?", "--model", "untrained", "--prompt-template", "wrong_key.toml"), "'template'"),
    (("ask", "picture.png", "?", "--model", "untrained", "--prompt-template", "wrong_task.toml"), "'tracking'"),
    (("sft", "tiny_stf"), "'tiny_sft'"),
    (("sft", "tiny-sft.toml"), "'tiny_sft'"),
    (("rl", "rl8b"), "'rl_8b'"),
    (("sft", "tiny_sft", *TRAIN, "stepz=3"), "'steps'"),
    (("sft", "tiny_sft", *TRAIN, "learning_rate=1e-4"), "'optimizer.learning_rate'"),
    (("sft", "tiny_sft", *TRAIN, "lr=1e-4"), "'optimizer.learning_rate'"),
    (("sft", "tiny_sft", *TRAIN, "optimiser.learning_rate=1e-4"), "'optimizer'"),
    (("sft", "tiny_sft", *TRAIN, "optimizer.warmup_step=5"), "'optimizer.warmup_steps'"),
    (("sft", "tiny_sft", *TRAIN, "dtype=bfloat61"), "'bfloat16'"),
    (("sft", "tiny_sft", *TRAIN, "data.world=thingz"), "'things'"),
    (("sft", "tiny_sft", *TRAIN, 'log.trackers=["tensorbord"]'), "'tensorboard'"),
    (("sft", "tiny_sft", *TRAIN, 'data.problem_types=["trackin"]'), "'tracking'"),
    (("sft", "tiny_sft", *TRAIN, 'data.problem_types=["tracking/vidoe"]'), "'video'"),
    (("sft", "tiny_sft", *TRAIN, 'data.weights={"mcq"=2}'), "'multiple choice'"),
    (("sft", "tiny_sft", *TRAIN, 'data.files=["misspelt.jsonl"]'), "'spatial grounding'"),
    (("rl", "tiny_rl", *TRAIN, "group_size=4"), "'rollout.group_size'"),
    (("rl", "tiny_rl", *TRAIN, "kl=0.1"), "'loss.kl_coefficient'"),
    (("rl", "tiny_rl", *TRAIN, "advantage.algorithm=ema_grop"), "'ema_grpo'"),
    (("rl", "tiny_rl", *TRAIN, "rewards=papper"), "'paper'"),
    (("rl", "tiny_rl", *TRAIN, 'grading.reward_model={kind="juge"}'), "'judge'"),
    (("quickstart", "--set-rl", "stepz=3"), "'steps'"),
    (
        ("sft", "tiny_sft", "--processes", "2", "--accelerate-config", "deepspeed-zero2", "--output", "run"),
        "'deepspeed_zero2'",
    ),
    ((*TINY_EVALUATION, "--benchmark", "mathvsta"), "'mathvista'"),
    ((*TINY_EVALUATION, "--benchmark", "papr"), "'paper'"),
    ((*TINY_EVALUATION, "--synthetic", "12", "--segmenter", "grabcutt"), "'grabcut'"),
    ((*TINY_EVALUATION, "--synthetic", "12", "--segmenter", "sam2"), "'facebook/sam2.1-hiera-large'"),
    (("evaluate", "--config", "wrong_evaluation.toml"), "'asking.max_new_tokens'"),
    (("data", "synthetic", "--output", "scenes", "--world", "things", "--split", "val"), "'validation'"),
]


@pytest.fixture(scope="module")
def said_of_misspelt(place) -> dict[tuple[str, ...], list]:
    """What each command line says, its exit code, and the heavy modules that it has imported; one process says all."""
    return told(place, [words for words, _ in MISSPELT])


@pytest.mark.parametrize(("words", "offered"), MISSPELT, ids=[" ".join(words) for words, _ in MISSPELT])
def test_the_nearest_right_name_is_offered_for_a_misspelt_one(said_of_misspelt, words, offered):
    code, said, heavy = said_of_misspelt[words]
    assert (code, heavy) == (1, [])
    assert f"did you mean {offered}" in said


WRONG_USAGE = [
    ("evalute", "no command 'evalute'; did you mean 'evaluate'?"),
    ("data synthtic --output x", "no command 'synthtic'; did you mean 'synthetic'?"),
    ("data synthetic --output x --world shapez", "no --world 'shapez'; did you mean 'shapes'?"),
    ("data synthetic --output x --num-sample 3", "no option '--num-sample'; did you mean '--num-samples'?"),
    ("ask picture.png ? --model untrained --temprature 3", "no option '--temprature'; did you mean '--temperature'?"),
    ("ask picture.png ? --model untrained --reading=lenint", "no --reading 'lenint'; did you mean 'lenient'?"),
    ("ask picture.png ? --modle tiny", "no option '--modle'; did you mean '--model'?"),
    ("segment picture.png --box 1 2 30 40 --segmentor x", "no option '--segmentor'; did you mean '--segmenter'?"),
    ("inspect picture.png --budget.max-frame 3", "did you mean '--budget.max-frames'?"),
    ("tasks --jsn", "no option '--jsn'; did you mean '--json'?"),
    ("grade --inptu a", "no option '--inptu'; did you mean '--input'?"),
    ("sft tiny_sft --outptu x", "no option '--outptu'; did you mean '--output'?"),
    ("rl tiny_rl --dry_rnu", "no option '--dry_rnu'; did you mean '--dry-run'?"),
    ("watch x --jsn", "no option '--jsn'"),
    ("evaluate --model untrained --synthtic 3", "no option '--synthtic'; did you mean '--synthetic'?"),
    ("evaluate --model untrained --synthetic 3 --mode gredy", "no --mode 'gredy'; did you mean 'greedy'?"),
    ("report x --outpt y", "no option '--outpt'; did you mean '--output'?"),
    ("export x --ouput y", "no option '--ouput'; did you mean '--output'?"),
    ("quickstart --procesess 2", "no option '--procesess'; did you mean '--processes'?"),
    ("doctor --jsn", "no option '--jsn'; did you mean '--json'?"),
    ("ask picture.png ? --box 1 2 3", "--box takes 4 numbers, got 3: 1 2 3"),
    ("ask picture.png ? --box 1 2 3 four", "--box takes 4 numbers, got 'four'"),
    ("ask --box 1 2 3 4 picture.png ?", "got 6: 1 2 3 4 picture.png ?; files and words go before it"),
    ("ask picture.png ? --max-new-tokens 1.5", "--max-new-tokens takes a whole number, got '1.5'"),
    ("ask picture.png ? --temperature --json", "--temperature takes a number, got none"),
]


@pytest.mark.parametrize(("line", "said"), WRONG_USAGE, ids=[line for line, _ in WRONG_USAGE])
def test_a_misspelt_word_of_the_command_line_is_wrong_usage_and_told_in_a_line(place, line, said, monkeypatch, capsys):
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as left:
        main(line.split())
    told = capsys.readouterr().err.strip()
    assert left.value.code == 2
    assert said in told
    assert len(told.splitlines()) == 1


def test_what_else_does_not_fit_is_told_as_before(capsys):
    with pytest.raises(SystemExit) as left:
        main(["data", "synthetic"])
    assert left.value.code == 2
    assert "--output" in capsys.readouterr().err
