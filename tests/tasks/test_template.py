"""The words around a question."""

import pytest

from onethinker.core.errors import ConfigError
from onethinker.core.sample import Sample
from onethinker.tasks import find_task
from onethinker.tasks.template import PromptTemplate

SAMPLE = Sample("1", "Where is {it}?", "spatial grounding", "image", ())


def test_the_default_text_holds_the_question_the_grammar_and_the_tasks_instructions():
    text = PromptTemplate().text(SAMPLE)
    assert text.startswith("Where is {it}?")
    assert "<think>" in text
    assert "<answer>" in text
    assert text.endswith(find_task("spatial grounding", "image").instructions)


def test_a_file_can_replace_every_word(tmp_path):
    path = tmp_path / "words.toml"
    path.write_text(
        'template = "{instructions} {question}"\nsystem = "Be brief."\n[instructions]\n"spatial grounding" = "box:"\n'
    )
    prompt_template = PromptTemplate.load(path)
    assert prompt_template.text(SAMPLE) == "box: Where is {it}?"
    assert prompt_template.system == "Be brief."


@pytest.mark.parametrize(
    "text", ["template = 3", 'colour = "red"', "template =", 'template = "{quest}"', 'template = "{"']
)
def test_a_wrong_file_is_an_error_that_names_it(tmp_path, text: str):
    path = tmp_path / "words.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"words\.toml: cannot be read as a prompt template"):
        PromptTemplate.load(path)
