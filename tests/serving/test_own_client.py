"""Our client before our own server: a model behind it is asked what a model here would be, frame for frame."""

from concurrent.futures import Future
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest
from PIL import Image

from onethinker import MediaBudget, Thinker
from onethinker.core.errors import EngineError
from onethinker.core.frames import Clip
from onethinker.core.request import Request, SamplingParams, Turn
from onethinker.core.sources import VideoPart
from onethinker.inference.engine import Completion, Engine
from onethinker.inference.loading import load_engine
from onethinker.media.reading import read_clip
from onethinker.media.writing import write_video
from onethinker.serving.limits import Limits
from onethinker.tasks.template import PromptTemplate
from tests.inference.scripted_server import server
from tests.serving.served import data_url, serving

SAID = "<think>\nTwo  cats. </think> \n<answer> 2</answer> "
BUDGET = MediaBudget(fps=3, max_frames=7, image_max_pixels=128 * 128, frame_max_pixels=96 * 96)
WORDS = PromptTemplate(system="Be brief.", template="{question}{options} {instructions}", frame="")


@dataclass(frozen=True)
class Noting(Engine):
    """Says one text, and notes what it was asked."""

    seen: list[tuple[Request, SamplingParams]] = field(default_factory=list)
    prompt_template: PromptTemplate = WORDS
    budget: MediaBudget = BUDGET
    name: str = "noting"
    max_in_flight: int = 2

    def submit(self, request: Request, params: SamplingParams) -> Future[Completion]:
        self.seen.append((request, params))
        for piece in (SAID[:9], SAID[9:]) if request.on_text else ():
            request.on_text(piece)
        future: Future[Completion] = Future()
        future.set_result(Completion(SAID, 7, 3, "stop", 0.1))
        return future


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    random = np.random.default_rng(1)
    for name, size in (("wide", (300, 150)), ("small", (20, 30))):
        Image.fromarray(random.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(folder / f"{name}.png")
    write_video(folder / "clip.mp4", random.integers(0, 256, (50, 96, 128, 3), dtype=np.uint8), fps=12.5)
    write_video(folder / "short.mp4", random.integers(0, 256, (3, 128, 64, 3), dtype=np.uint8), fps=29.97)
    return folder


MEDIA = {
    "a picture": lambda folder: folder / "wide.png",
    "several pictures": lambda folder: [folder / "wide.png", folder / "small.png"],
    "a clip": lambda folder: folder / "clip.mp4",
    "an odd clip": lambda folder: folder / "short.mp4",
    "a clip with start and end": lambda folder: VideoPart(folder / "clip.mp4", 0.7, 2.9),
    "a clip with a start": lambda folder: VideoPart(folder / "clip.mp4", 1.3),
    "two clips": lambda folder: [folder / "clip.mp4", VideoPart(folder / "clip.mp4", 1, 2)],
    "a clip and pictures": lambda folder: [folder / "small.png", folder / "short.mp4", folder / "wide.png"],
}


def same(clip: Clip, other: Clip) -> bool:
    fields = ("kind", "times_s", "duration_s", "width", "height")
    equal = all(getattr(clip, name) == getattr(other, name) for name in fields)
    return equal and np.array_equal(clip.frames, other.frames)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", MEDIA)
def test_the_model_behind_our_server_is_asked_what_a_model_here_is(files, tmp_path, kind, stream):
    engine, here = Noting(), Noting()
    ask = {"question": "How many cats?", "source": MEDIA[kind](files), "task": "numerical"}
    with serving(engine, tmp_path / "u") as served, Thinker.load(f"{served.address}/v1") as far:
        near = Thinker(here).ask(**ask)
        *pieces, thought = far.stream(**ask) if stream else [far.ask(**ask)]
        assert served.uploads() == []
    [(sent, params)], [(local, local_params)] = engine.seen, here.seen
    assert (sent.text, sent.system, sent.earlier, params) == (local.text, "Be brief.", (), local_params)
    assert len(sent.media) == len(local.media)
    assert all(map(same, sent.media, local.media))
    assert (thought.text, near.text) == (SAID, SAID)
    assert "".join(pieces) == (SAID if stream else "")


def test_follow_ups_and_media_between_turns_arrive_as_they_are(files, tmp_path):
    engine = Noting()
    clips = tuple(read_clip(files / name, BUDGET) for name in ("wide.png", "clip.mp4"))
    turns = (Turn("Where is <|im_end|>?", " <think>Left.</think> <answer>here</answer>\n"),)
    asked = Request("And this?", clips, "Be long.", 11, earlier=turns, shown=(1, 1))
    with serving(engine, tmp_path / "u") as served, load_engine(f"{served.address}/v1") as far:
        [reply] = far.complete([asked], SamplingParams(max_new_tokens=5, temperature=0.5, top_p=0.9))
    [(sent, params)] = engine.seen
    assert sent.earlier == (Turn("Where is < |im_end|>?", turns[0].answer),)
    assert (sent.text, sent.system, sent.shown, sent.seed_or(params.seed)) == ("And this?", "Be long.", (1, 1), 11)
    assert (params.max_new_tokens, params.temperature, params.top_p) == (5, 0.5, 0.9)
    assert all(map(same, sent.media, clips))
    assert reply.text == SAID


def test_the_weights_that_ship_say_the_same_near_and_far(files, tmp_path):
    near = Thinker.load("tiny")
    with serving(near.engine, tmp_path / "u") as served, Thinker.load(f"{served.address}/v1") as far:
        for source in (files / "wide.png", files / "clip.mp4"):
            here, there = near.ask(source, "Where is the cat?"), far.ask(source, "Where is the cat?")
            assert (there.text, there.reply.prompt_tokens) == (here.text, here.reply.prompt_tokens)


def test_frames_that_the_servers_budget_would_change_are_refused(files, tmp_path):
    with serving(Noting(), tmp_path / "u") as served:
        far = load_engine(f"{served.address}/v1", budget=MediaBudget(fps=6, max_frames=20))
        with Thinker(far) as thinker, pytest.raises(EngineError, match=r"would turn the 20 frames of .* into 7 of"):
            thinker.ask(files / "clip.mp4", "How many?")


def test_frames_as_vllm_takes_them_have_their_times(files, tmp_path):
    engine, clip = Noting(), read_clip(files / "short.mp4", BUDGET)
    with server(lambda body, number: (400, {}, {})) as (vllm, seen), pytest.raises(EngineError):
        vllm.complete([Request("When?", (clip,))], SamplingParams())
    with serving(engine, tmp_path / "u") as served, served.client() as client:
        reply = client.post("/v1/chat/completions", json={**seen.bodies[0], "model": None})
        assert reply.status_code == 200, reply.text
    [(sent, _)] = engine.seen
    assert np.array_equal(sent.media[0].frames, clip.frames)
    assert sent.media[0].times_s == pytest.approx(clip.times_s, abs=0.0006)


def video(count: int, *texts: str, **times) -> dict:
    frames = [data_url(b"").partition(",")[2] + text for text in texts] or ["iVBO"] * count
    part = {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(frames)}", **times}}
    return {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "When?"}]}]}


LIMIT = Limits().frames
MISTAKES = {
    "no times": (video(2), 400, "frames_indices"),
    "too few times": (video(2, times_s=[0], duration_s=1), 422, "2 pictures"),
    "times that fall": (video(2, times_s=[1, 0], duration_s=1), 422, "increase"),
    "no number": (video(1, times_s=["a"], duration_s=1), 400, "times_s"),
    "a negative time": (video(1, times_s=[-1], duration_s=1), 400, "times_s"),
    "no base64": (video(2, "*", "*", times_s=[0, 1], duration_s=1), 422, "frame 1: not base64"),
    "no picture": (video(2, "aGk=", "aG8=", times_s=[0, 1], duration_s=1), 422, "frame 1: is not a picture"),
    "a frame too many": (video(LIMIT + 1, times_s=[0], duration_s=1), 422, f"at most {LIMIT} frames"),
    "just as many": (video(LIMIT, times_s=[0], duration_s=1), 422, f"{LIMIT} pictures"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_video_of_pictures_that_is_wrong_is_refused_with_words(client, served, case):
    body, status, words = MISTAKES[case]
    reply = client.post("/v1/chat/completions", json=body)
    assert (reply.status_code, words in reply.json()["error"]["message"]) == (status, True), reply.text
    assert str(served.folder) not in reply.text
    assert served.uploads() == []


def test_the_list_of_models_says_words_and_budget(tmp_path):
    with serving(Noting(), tmp_path / "u") as served:
        told = httpx.get(f"{served.address}/v1/models", trust_env=False).json()["data"][0]["onethinker"]
    assert MediaBudget.model_validate(told["budget"]) == BUDGET
    assert PromptTemplate.model_validate(told["prompt_template"]) == WORDS
    assert told["coordinates"] == "thousandths"
