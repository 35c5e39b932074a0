import json

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main

BOX = '<think>The cat sits left.</think><answer>{"boxes": [100, 200, 300, 400]}</answer>'


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((96, 128, 3), 90, np.uint8)).save(path)
    return path


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def test_ask_prints_the_answer_as_json_and_draws_it(photo, serve, capsys):
    address, asked = serve(BOX)
    drawn = photo.with_name("out.png")
    code = run(
        "ask", photo, "Where is the cat?", "--task", "spatial grounding", "--model", address, "--draw", drawn, "--json"
    )
    said = json.loads(capsys.readouterr().out)
    assert code == 0
    assert said["thinking"] == "The cat sits left."
    assert said["problems"] == []
    assert said["model"] == f"said-model at {address}"
    with Image.open(drawn) as picture:
        assert picture.size == (128, 96)
    assert "Where is the cat?" in json.dumps(asked[0]["messages"])


def test_ask_prints_thinking_and_answer_on_stdout_and_the_rest_on_stderr(photo, serve, capsys):
    address, _ = serve("<think>One, two.</think><answer>2</answer>")
    assert run("ask", photo, "How many?", "--task", "numerical", "--model", address) == 0
    said = capsys.readouterr()
    assert said.out == "One, two.\n\n2\n"
    assert "s answer" in said.err


@pytest.mark.parametrize("task", [(), ("--task", "Spatial Grounding")], ids=["guessed", "named"])
def test_ask_guesses_the_task_and_says_so_on_stderr_unless_it_is_named(photo, serve, capsys, task):
    address, _ = serve(BOX)
    assert run("ask", photo, "please find me the cat", *task, "--model", address, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["task"] == "spatial grounding"
    assert ("task: spatial grounding, guessed; --task to change\n" in said.err) == (not task)


def test_ask_shows_an_unusable_answer_with_its_problem_and_leaves_with_1_only_if_it_was_to_be_drawn(
    photo, serve, capsys
):
    address, _ = serve("no idea")
    drawn = photo.with_name("out.png")
    for draw, code in (((), 0), (("--draw", drawn), 1)):
        assert run("ask", photo, "Where?", "--task", "spatial grounding", "--model", address, *draw) == code
        said = capsys.readouterr()
        assert said.out == "no idea\n"
        assert "problem: " in said.err
        assert ("not written" in said.err) == bool(draw)
    assert not drawn.exists()


def test_ask_takes_the_words_from_a_file(photo, serve, tmp_path):
    address, asked = serve(BOX)
    (tmp_path / "words.toml").write_text('template = "Say: {question}"')
    assert (
        run(
            "ask",
            photo,
            "Where?",
            "--task",
            "spatial grounding",
            "--model",
            address,
            "--prompt-template",
            tmp_path / "words.toml",
        )
        == 0
    )
    assert asked[0]["messages"][-1]["content"][-1]["text"] == "Say: Where?"


def test_ask_shows_options_to_the_model(photo, serve):
    address, asked = serve("<think>a</think><answer>A</answer>")
    assert (
        run("ask", photo, "What?", "--task", "multiple choice", "--model", address, "--options", "A. cat", "B. dog")
        == 0
    )
    assert "A. cat\nB. dog" in asked[0]["messages"][-1]["content"][-1]["text"]


def test_ask_tells_the_model_what_was_asked_before(photo, serve, capsys):
    address, asked = serve(BOX)
    before = ("--earlier", "Where is the cat?", "On the left.")
    assert run("ask", photo, "And the dog?", *before, "--model", address) == 0
    assert "task: spatial grounding, guessed" in capsys.readouterr().err
    assert [each["role"] for each in asked[0]["messages"]] == ["user", "assistant", "user"]
    assert run("ask", photo, "And the dog?", *before, "What?", "--model", address) == 1
    assert "'What?' has no answer" in capsys.readouterr().err


def test_ask_runs_on_the_tiny_model_without_a_download(photo, capsys):
    assert run("ask", photo, "How many?", "--task", "numerical", "--max-new-tokens", 8, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"] == "tiny"
    assert said["tokens"]["answer"] <= 8


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("absent.png", "What?", "--model", "untrained"), "absent.png"),
        (("~nobody.png", "~how many?", "--model", "untrained"), "~nobody.png: there is no such file"),
        (("{photo}", "What?", "--model", "untrained", "--task", "juggling"), "juggling"),
        (("{photo}", "What?", "--model", "/no/such/model"), "/no/such/model"),
        (("{photo}", "What?", "--model", "untrained", "--prompt-template", "absent.toml"), "absent.toml"),
        (
            ("{photo}", "What?", "--model", "untrained", "--box", "9", "9", "1", "1", "--task", "spatial grounding"),
            "thousandths",
        ),
        (
            ("{photo}", "What?", "--model", "untrained", "--box", "0.1", "0.2", "0.5", "0.6"),
            "fractions from 0 to 1 by 1000: 100 200 500 600",
        ),
        (("{photo}", "What?", "--model", "untrained", "--box", "0", "0", "nan", "9"), "thousandths"),
        (
            ("{photo}", "When?", "--model", "untrained", "--task", "tracking"),
            "'tracking' is asked about video, not about 'image'",
        ),
    ],
    ids=[
        "file",
        "no home folder",
        "task",
        "model",
        "prompt_template",
        "box",
        "box from 0 to 1",
        "box of no number",
        "picture",
    ],
)
def test_bad_input_leaves_with_1_and_names_the_fault(photo, capsys, arguments, complaint):
    assert run("ask", *(argument.format(photo=photo) for argument in arguments)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert complaint.replace(" ", "") in "".join(said.err.split())


def test_wrong_usage_leaves_with_2(photo):
    assert run("ask", photo, "?", "--colour", "red") == 2
