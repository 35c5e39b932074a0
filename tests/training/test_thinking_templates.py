"""Chat templates that write the beginning of the answer, as those of thinking models do: it counts, once, wherever
answers are read.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

from onethinker import Thinker
from onethinker.core.request import Request, SamplingParams
from onethinker.data.formats.records import write_records
from onethinker.families.folder import ModelSettings, save_model
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE, build_tiny, build_tiny_processor
from onethinker.inference.encode import answer_opening, encode_requests
from onethinker.inference.loading import load_local
from onethinker.rewards.grader import Grader
from onethinker.rl.groups import collect
from onethinker.rl.in_process import InProcessSampler
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.opening import open_session
from onethinker.training.sft import train_sft

HEADER = "<|im_start|>assistant\n"
OPENS_LINE, OPENS, OPENS_AND_CLOSES = "<think>\n", "<think>", "<think>\n\n</think>\n\n"
RESPONSE = "<think>I see.</think><answer>A</answer>"


def make_writing(processor, written: str):
    """Return the processor with a template that writes so much of the answer itself."""
    spelled = written.replace("\n", "{{ '\\n' }}")
    template = processor.chat_template.replace("{% endif -%}\n", spelled + "{% endif -%}\n")
    processor.chat_template = processor.tokenizer.chat_template = template
    return processor


def prompt_text(processor, text: str = "How many?") -> str:
    return processor.tokenizer.decode(encode_requests(processor, [Request(text)])["input_ids"][0])


@dataclass(frozen=True)
class Opened:
    """A model whose template opens the think block, taught to answer A or B, and the questions."""

    model: str
    run: Path
    questions: Path


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Opened:
    folder = tmp_path_factory.mktemp("opened")
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "red.png")
    questions = folder / "questions.jsonl"
    write_records(
        questions,
        [
            {
                "problem": "<image>Which one?",
                "answer": "<answer>A</answer>",
                "options": ["A. one", "B. two"],
                "images": ["red.png"],
                "problem_type": "multiple choice",
                "data_type": "image",
                "response": f"<think>I see.</think><answer>{'AB'[number % 2]}</answer>",
            }
            for number in range(8)
        ],
    )
    model, processor = build_tiny(seed=3)
    settings = ModelSettings(prompt_template=TINY_TEMPLATE, budget=TINY_BUDGET)
    save_model(folder / "base", model, make_writing(processor, OPENS_LINE), settings=settings)
    recipe = SftRecipe(
        model=str(folder / "base"),
        steps=25,
        batch_size=8,
        max_row_tokens=512,
        data={"files": [questions]},
        optimizer={"learning_rate": 3e-3},
    )
    return Opened(str(train_sft(recipe, folder / "run")), folder / "run", questions)


@pytest.mark.parametrize(
    ("written", "opening", "ends"),
    [
        ("", "", HEADER),
        (OPENS_LINE, OPENS_LINE, HEADER + OPENS_LINE),
        (OPENS, OPENS, HEADER + OPENS),
        (OPENS_AND_CLOSES, "", HEADER),
    ],
    ids=["nothing", "opened with a line break", "opened", "opened and closed"],
)
def test_what_the_template_opens_is_known_and_what_it_also_closes_is_left_out_of_the_prompt(
    written: str, opening: str, ends: str
):
    processor = make_writing(build_tiny_processor(), written)
    assert answer_opening(processor) == opening
    assert prompt_text(processor).endswith(ends)


def test_a_question_that_ends_with_the_tag_opens_nothing():
    processor = build_tiny_processor()
    processor.chat_template = "{% for message in messages %}{{ message['content'][-1]['text'] }}{% endfor %}"
    assert answer_opening(processor) == ""
    assert prompt_text(processor, "What is <think></think>").endswith("<think></think>")


@pytest.mark.parametrize("written", ["", OPENS_LINE, OPENS], ids=repr)
def test_a_reply_begins_with_what_the_template_wrote(written: str):
    engine = load_local("untrained", seed=3)
    make_writing(engine.processor, written)
    [reply] = engine.complete([Request("How many?")], SamplingParams(max_new_tokens=6))
    assert reply.text.startswith(written)
    assert reply.completion_tokens == 6
    batch = encode_requests(engine.processor, [Request("How many?")])
    ids = engine.model.generate(**batch, max_new_tokens=6, do_sample=False)[0, batch["input_ids"].shape[1] :]
    assert reply.text == written + engine.processor.tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("written", "response", "target"),
    [
        ("", RESPONSE, RESPONSE),
        (OPENS_LINE, RESPONSE, RESPONSE.removeprefix("<think>")),
        (OPENS_LINE, "<think>\nI see.\n</think>\n\n<answer>A</answer>", "I see.\n</think>\n\n<answer>A</answer>"),
        (OPENS, "<think>\nI see.</think><answer>A</answer>", "\nI see.</think><answer>A</answer>"),
        (OPENS_AND_CLOSES, RESPONSE, RESPONSE),
        (OPENS_LINE, "A red ball.", "A red ball."),
    ],
    ids=["nothing", "line break", "both with a line break", "opened", "opened and closed", "no think block to open"],
)
def test_sft_learns_what_follows_the_templates_tag(tmp_path, written: str, response: str, target: str):
    model, processor = build_tiny(seed=3)
    settings = ModelSettings(prompt_template=TINY_TEMPLATE, budget=TINY_BUDGET)
    save_model(tmp_path / "base", model, make_writing(processor, written), settings=settings)
    run = open_session(SftRecipe(model=str(tmp_path / "base"), steps=1), tmp_path / "run")
    assert run.processor.tokenizer.decode(run.data.answer_ids(response)) == target + run.processor.tokenizer.eos_token


def test_a_prompt_and_its_target_hold_the_tag_once(opened: Opened):
    run = open_session(
        SftRecipe(model=opened.model, steps=1, data={"files": [opened.questions]}),
        opened.run.with_name("again"),
    )
    sample, request = run.data.read(0)
    [prompt] = run.data.prompts([request])
    learned = run.processor.tokenizer.decode(torch.cat([prompt.input_ids, run.data.answer_ids(sample.response)]))
    assert learned.count("<think>") == learned.count("</think>") == 1
    assert learned.endswith(HEADER + "<think>\nI see.</think><answer>A</answer><|im_end|>")


def test_ask_shows_the_thinking_and_finds_nothing_wrong(opened: Opened):
    thought = Thinker.load(opened.model, sampling=SamplingParams(max_new_tokens=24)).ask(
        opened.questions.with_name("red.png"), "Which one?", task="multiple choice", options=["A. one", "B. two"]
    )
    assert thought.problems == ()
    assert thought.thinking == "I see."
    assert thought.answer in ("A", "B")


def test_rollouts_earn_their_form_point(opened: Opened, tmp_path):
    recipe = RlRecipe(
        model=opened.model,
        steps=1,
        data={"files": [opened.questions]},
        rollout={
            "generation_batch_size": 2,
            "group_size": 4,
            "max_new_tokens": 24,
            "min_accuracy": -1,
            "max_accuracy": 2,
            "max_refills": 0,
        },
        grading={"workers": 0},
    )
    with Grader(recipe.grading, recipe.rewards) as grader:
        session = open_session(recipe, tmp_path / "run")
        batch = collect(session, recipe, InProcessSampler(session), grader)
    texts = [text for group in batch.groups.values() for text in group.texts]
    assert len(texts) == 8
    assert all(text.startswith("<think>\n") and text.count("<think>") == 1 for text in texts)
    formats = [grade.format for group in batch.groups.values() for grade in group.grades]
    assert sum(formats) >= 6  # the taught model rarely stumbles at temperature 1
