"""What a thought shows and tells: plots, HTML of a notebook, boxes in both units."""

import base64
import io
import re
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker import Clip, Thinker, Thought
from onethinker.core.errors import AnswerError
from onethinker.core.geometry import Box, Span
from onethinker.core.request import SamplingParams
from onethinker.inference.scripted import ScriptedEngine

VIDEO = Clip(
    "video",
    np.full((8, 96, 128, 3), 90, np.uint8),
    tuple(n / 2 for n in range(8)),
    tuple(range(8)),
    1280,
    960,
    4.0,
    "a.mp4",
)
PICTURE = Clip("image", VIDEO.frames[:1], (0.0,), (0,), 1280, 960, 0.0, "<b>&.png")
POINTS = '"positive_points": [[500, 500], [520, 520], [530, 530]], "negative_points": [[10, 10], [10, 90], [90, 10]]'
CASES = {
    "spatial grounding": (PICTURE, '{"boxes": [100, 200, 300, 400]}'),
    "segmentation": (PICTURE, f'{{"boxes": [100, 200, 300, 400], {POINTS}}}'),
    "temporal grounding": (VIDEO, '{"time": [1.0, 2.5]}'),
    "tracking": (VIDEO, '{"boxes": {"1": [100, 200, 300, 400], "2": [150, 200, 350, 400]}}'),
    "spatial-temporal grounding": (VIDEO, '{"time": [1, 2], "boxes": {"1": [1, 2, 300, 400], "2": [1, 2, 300, 400]}}'),
    "open-ended": (PICTURE, "a <script>alert(1)</script> \ud800 & more"),
    "numerical": (VIDEO, "12"),
}


def said(task, text=None, media=None):
    clip, answer = CASES[task]
    reply = text or f"<think>I <i>see</i></think><answer>{answer}</answer>"
    return Thinker(ScriptedEngine([reply])).ask(media or clip, 'Where is "x" <y>?', task=task)


class Page(HTMLParser):
    """The tags, pictures and words of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.pictures, self.words = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            kind, _, data = dict(attrs)["src"].partition(",")
            assert kind == "data:image/webp;base64"
            self.pictures.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")))

    def handle_data(self, data):
        self.words += data


@pytest.mark.parametrize("task", CASES)
def test_a_notebook_shows_question_picture_answer_and_thinking_escaped_and_alone(task):
    html = said(task)._repr_html_()
    page = Page(html)
    assert set(page.tags) <= {"div", "b", "small", "img", "details", "summary"}
    assert 'Where is "x" <y>?' in page.words
    assert "I <i>see</i>" in page.words
    assert CASES[task][1].replace("\ud800", "?") in page.words
    assert not re.search(r"https?://|<script", html)
    html.encode()
    [picture] = page.pictures
    assert picture.std() > 1  # a gray frame alone has no contrast: something is drawn


def test_a_notebook_shows_an_unusable_answer_with_its_problems_and_nothing_drawn():
    thought = said("spatial grounding", "<b>no</b>")
    page = Page(thought._repr_html_())
    assert page.pictures[0].std() < 1
    assert all(problem in page.words for problem in thought.problems)
    assert "<b>no</b>" in page.words


def test_a_notebook_shows_every_picture_of_a_question_about_several():
    page = Page(said("numerical", media=[PICTURE, VIDEO, PICTURE])._repr_html_())
    assert len(page.pictures) == 3


def test_ipython_displays_the_html():
    formatters = pytest.importorskip("IPython.core.formatters")
    thought = said("tracking")
    data, _ = formatters.DisplayFormatter().format(thought)
    assert data["text/html"] == thought._repr_html_()
    assert data["text/plain"] == repr(thought)


@pytest.mark.parametrize("task", CASES)
def test_a_plot_is_an_image_with_the_answer_drawn_in(task):
    thought = said(task)
    plot = thought.plot()
    assert np.asarray(plot).std() > 1
    if thought.clip.kind == "image":
        assert plot.size == (128, 96)


def test_a_plot_of_a_file_has_its_size_however_little_the_model_saw(tmp_path):
    Image.new("RGB", (640, 480), "gray").save(tmp_path / "a.png")
    assert said("spatial grounding", media=tmp_path / "a.png").plot().size == (640, 480)


def test_nothing_is_plotted_of_an_unusable_answer():
    with pytest.raises(AnswerError, match="nothing to draw"):
        said("spatial grounding", "no").plot()
    with pytest.raises(AnswerError, match="nothing to draw"):
        said("spatial grounding", "no").show()


def test_show_opens_the_plot_in_a_viewer(monkeypatch):
    shown = []
    monkeypatch.setattr(Image.Image, "show", lambda image: shown.append(image.size))
    said("spatial grounding").show()
    assert shown == [(128, 96)]


def test_boxes_are_thousandths_and_pixels_of_the_source():
    thought = said("tracking")
    assert thought.boxes == {0.0: Box(100, 200, 300, 400), 1.0: Box(150, 200, 350, 400)}
    assert thought.boxes_px[1.0] == pytest.approx((192, 192, 448, 384))
    assert said("open-ended").boxes == said("open-ended").boxes_px == {}
    assert said("spatial grounding", "no").boxes == {}


def test_span_and_points_have_names_of_their_own():
    assert said("temporal grounding").span == Span(1.0, 2.5)
    assert said("spatial-temporal grounding").span == Span(1, 2)
    assert said("tracking").span is None
    assert said("segmentation").points["negative"] == ((10, 10), (10, 90), (90, 10))
    assert said("tracking").points == {}


def test_a_thought_prints_a_line():
    assert repr(said("tracking")).startswith("Thought('Where is \"x\" <y>?' about a.mp4: Track(boxes=")
    assert "unusable" in repr(said("tracking", "no"))
    assert len(repr(said("open-ended", "<think>" + "x" * 9999))) < 500


def test_the_examples_of_the_page_for_python_run(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs/python.md").read_text("utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for name in ("photo.jpg", "a.jpg", "b.jpg", "drawing.png"):
        Image.new("RGB", (64, 48), "red").save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    # An untrained model writes until it is stopped.
    monkeypatch.setattr("onethinker.inference.thinker.SamplingParams", partial(SamplingParams, max_new_tokens=16))
    names = {}
    for example in examples:
        exec(example, names)
    assert len(examples) == 4
    assert isinstance(names["thought"], Thought)
    assert capsys.readouterr().out
