"""Model folders as others load them: plain transformers shows a model what `ask` shows it, and gives the same
answers.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from onethinker.core.frames import Clip
from onethinker.core.sample import Sample
from onethinker.data.synthetic import make_sample
from onethinker.families.folder import read_settings, save_model
from onethinker.inference.encode import build_request, encode_requests
from onethinker.inference.loading import load_local
from onethinker.inference.thinker import Thinker
from onethinker.media.budget import MediaBudget
from onethinker.media.writing import write_video
from onethinker.report.model_export import export_model
from onethinker.training.config import SftRecipe
from onethinker.training.sft import train_sft
from tests.models import save_tiny
from tests.training.test_runs import SFT

QUESTIONS = {
    "image": ("spatial grounding", "Where is the cat?"),
    "video": ("temporal grounding", "When does the cat jump?"),
}
"""What the card asks about its picture and its clip."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """The export of a tiny model that has learned to answer in the right form, and what it sees has a say in it."""
    folder = tmp_path_factory.mktemp("exported")
    data = {"problem_types": ["spatial grounding", "temporal grounding"]}
    recipe = SftRecipe(**SFT | {"steps": 40, "save_every": 40, "optimizer": {"learning_rate": 3e-3}}, data=data)
    train_sft(recipe, folder / "run")
    export_model(folder / "run", folder / "thinker")
    return folder / "thinker"


@pytest.fixture(scope="module")
def loaded(exported):
    """Model and processor as plain transformers loads them."""
    return AutoModelForImageTextToText.from_pretrained(exported, dtype="auto").eval(), AutoProcessor.from_pretrained(
        exported
    )


def scene(kind: str) -> Clip:
    task, _ = QUESTIONS[kind]
    (clip,) = make_sample(7, 0, problem_type=task, data_type=kind).media
    assert isinstance(clip, Clip)
    return clip


def save_picture(path: Path, width: int, height: int) -> Path:
    Image.fromarray(scene("image").frames[0]).resize((width, height)).save(path)
    return path


def save_clip(path: Path, width: int, height: int, times_s: list[float], duration_s: float) -> Path:
    frames = scene("video").frames
    chosen = [frames[int(time_s * 2) % len(frames)] for time_s in times_s]
    write_video(
        path,
        np.stack([np.array(Image.fromarray(f).resize((width, height))) for f in chosen]),
        times_s=times_s,
        duration_s=duration_s,
    )
    return path


def asked(folder: Path, path: Path, kind: str) -> tuple[dict, str]:
    """Return what `ask` shows the model of a file, and its answer."""
    task, question = QUESTIONS[kind]
    engine = load_local(str(folder))
    sample = Sample("asked", question, task, kind, (path,))
    inputs = encode_requests(engine.processor, [build_request(sample, engine.prompt_template, engine.budget)])
    return inputs, Thinker(engine).ask(path, question, task=task).text


def messages(folder: Path, kind: str, medium: dict) -> list[dict]:
    task, question = QUESTIONS[kind]
    text = read_settings(folder).prompt_template.text(Sample("asked", question, task, kind, ()))
    return [{"role": "user", "content": [medium, {"type": "text", "text": text}]}]


def answer(model, processor, inputs) -> str:
    with torch.inference_mode():
        ids = model.generate(**inputs, max_new_tokens=256)
    return processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def look_the_same(found, expected, kind: str) -> None:
    """Tokens and grids are equal; pixels are up to the rounding of another library's resize, in 1/127.5 of the whole
    scale.
    """
    pixels, grid = ("pixel_values", "image_grid_thw") if kind == "image" else ("pixel_values_videos", "video_grid_thw")
    assert found["input_ids"].tolist() == expected["input_ids"].tolist()
    assert found[grid].tolist() == expected[grid].tolist()
    assert float((found[pixels] - expected[pixels]).abs().mean()) < 4 / 127.5


PICTURES = [(640, 480), (1920, 1080), (97, 96), (96, 64), (64, 64), (333, 500), (40, 30), (20, 20), (300, 40)]
"""Larger than the tiny model's 9,216 pixels, as large, and smaller than its 4,096."""


@pytest.mark.parametrize("size", PICTURES, ids=str)
def test_plain_transformers_sees_a_picture_and_answers_as_ask_does(exported, loaded, tmp_path, size):
    path = save_picture(tmp_path / "photo.png", *size)
    expected, text = asked(exported, path, "image")
    model, processor = loaded
    inputs = processor.apply_chat_template(
        messages(exported, "image", {"type": "image", "path": str(path)}),
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    look_the_same(inputs, expected, "image")
    assert answer(model, processor, inputs) == text


def code_of(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


CLIPS = {
    "larger": (320, 240, [n / 10 for n in range(30)], 3.0),
    "odd number of frames": (200, 150, [n / 8 for n in range(20)], 2.5),
    "smaller": (40, 28, [n / 4 for n in range(12)], 3.0),
    "as large": (64, 64, [n / 2 for n in range(6)], 3.0),
    "times of its own": (160, 120, [0.0, 0.1, 0.7, 1.3, 1.35, 2.6, 3.9], 4.5),
    "longer than the budget": (96, 96, [n / 2 for n in range(40)], 20.0),
    "slower than the budget": (96, 96, [0.0, 1.0, 2.0], 3.0),
    "one frame": (96, 96, [0.0], 0.4),
}


@pytest.mark.parametrize("name", CLIPS)
def test_the_card_shows_plain_transformers_a_clip_as_ask_does(exported, loaded, tmp_path, name):
    path = save_clip(tmp_path / "clip.mp4", *CLIPS[name])
    expected, text = asked(exported, path, "video")
    reading, _, _ = code_of((exported / "README.md").read_text())[1].partition("\n\n\nframes, ")
    names: dict = {}
    exec(reading, names)
    frames, times_ms, size = names["read_video"](str(path))
    model, processor = loaded
    inputs = processor(
        text=processor.apply_chat_template(messages(exported, "video", {"type": "video"}), add_generation_prompt=True),
        videos=[frames],
        do_sample_frames=False,
        cap_pixels_per_frame=False,
        size=size,
        video_metadata=[{"fps": 1000.0, "frames_indices": times_ms, "total_num_frames": times_ms[-1] + 1}],
        return_tensors="pt",
    )
    look_the_same(inputs, expected, "video")
    assert answer(model, processor, inputs) == text


def by_itself(processor, folder: Path, path: Path, fps: float):
    """What a processor makes of all frames of a file, sampling and sizing them by itself."""
    import av

    with av.open(str(path)) as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    text = processor.apply_chat_template(messages(folder, "video", {"type": "video"}), add_generation_prompt=True)
    metadata = {"fps": fps, "total_num_frames": len(frames), "duration": len(frames) / fps}
    return processor(text=text, videos=[frames], video_metadata=[metadata], return_tensors="pt")


def test_a_processor_by_itself_sees_a_clip_of_the_budgets_rate_as_ask_does(exported, loaded, tmp_path):
    path = save_clip(tmp_path / "clip.mp4", 320, 240, [n / 2 for n in range(8)], 4.0)
    expected, text = asked(exported, path, "video")
    model, processor = loaded
    inputs = by_itself(processor, exported, path, 2.0)
    look_the_same(inputs, expected, "video")
    assert answer(model, processor, inputs) == text


@pytest.mark.parametrize(("seconds", "frames"), [(4, 8), (30, 12)], ids=["within the budget", "longer"])
def test_a_processor_by_itself_takes_as_many_frames_of_the_same_size_at_other_rates(
    exported, loaded, tmp_path, seconds, frames
):
    path = save_clip(tmp_path / "clip.mp4", 320, 240, [n / 10 for n in range(10 * seconds)], float(seconds))
    expected, _ = asked(exported, path, "video")
    inputs = by_itself(loaded[1], exported, path, 10.0)
    assert (
        inputs["video_grid_thw"].tolist()
        == expected["video_grid_thw"].tolist()
        == [[frames // 2, *expected["video_grid_thw"][0, 1:].tolist()]]
    )


@pytest.mark.parametrize("kind", ["untrained", "checkpoint", "adapters", "finished", "exported"])
def test_every_folder_says_the_budget_in_the_processors_own_words(exported, tmp_path, kind):
    run, budget = (
        tmp_path / "run",
        MediaBudget(fps=4, max_frames=20, image_max_pixels=50 * 1024, frame_max_pixels=6 * 1024),
    )
    if kind in ("untrained", "exported"):
        folder, budget = (
            (tmp_path / "tiny", read_settings(exported).budget)
            if kind == "untrained"
            else (exported, read_settings(exported).budget)
        )
        if kind == "untrained":
            save_tiny(folder)
    else:
        lora = {"lora": {"rank": 2}} if kind == "adapters" else {}
        train_sft(SftRecipe(**SFT | {"steps": 1}, budget=budget, **lora), run)
        folder = run / "model" if kind == "finished" else run / "checkpoints/step-00000001/model"
    processor = AutoProcessor.from_pretrained(folder)
    images, videos = processor.image_processor, processor.video_processor
    assert dict(images.size) == {"shortest_edge": budget.image_min_pixels, "longest_edge": budget.image_max_pixels}
    assert (videos.size["longest_edge"], videos.max_video_tokens) == (
        budget.video_max_pixels,
        budget.frame_max_pixels // 1024,
    )
    assert (videos.fps, videos.max_frames, videos.cap_pixels_per_frame) == (budget.fps, budget.max_frames, True)


def test_a_base_models_way_of_drawing_answers_is_not_handed_on(tmp_path):
    engine = load_local("untrained")
    engine.model.generation_config.update(do_sample=True, temperature=0.7, top_k=20, repetition_penalty=1.3)
    save_model(tmp_path / "model", engine.model, engine.processor, settings=engine.settings)
    kept = json.loads((tmp_path / "model/generation_config.json").read_text())
    assert kept.keys() == {"eos_token_id", "pad_token_id", "transformers_version"}


def test_the_python_of_the_card_runs_as_it_stands_and_answers_as_ask_does(exported):
    folder = exported.parent
    save_picture(folder / "photo.jpg", 640, 480)
    save_clip(folder / "clip.mp4", *CLIPS["larger"])
    code = code_of((exported / "README.md").read_text())
    assert len(code) == 2
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    texts = [asked(exported, folder / name, kind)[1] for name, kind in (("photo.jpg", "image"), ("clip.mp4", "video"))]
    assert ran.stdout == "".join(f"{text}\n" for text in texts)
    assert texts[0] != texts[1]


def test_the_card_has_the_words_of_every_task(exported):
    settings = read_settings(exported)
    names: dict = {"torch": None}
    setup = code_of((exported / "README.md").read_text())[0].partition("model = ")[0]
    exec("\n".join(line for line in setup.splitlines() if not line.startswith(("import", "from"))), names)
    assert names["INSTRUCTIONS"] == settings.prompt_template.instructions
    assert (names["TEMPLATE"], names["FRAME"], names["SYSTEM"]) == (
        settings.prompt_template.template,
        settings.prompt_template.frame,
        None,
    )
