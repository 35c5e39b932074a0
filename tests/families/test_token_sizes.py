"""A family of another visual token is one file: here one of 28 pixels, as Qwen2.5-VL has."""

import numpy as np
import pytest
from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

from onethinker.core.frames import Clip
from onethinker.core.request import Request
from onethinker.families.qwen3_vl import Qwen3VL
from onethinker.families.registry import fit_budget
from onethinker.families.tiny import build_tiny_processor
from onethinker.inference.encode import prompt_texts
from onethinker.media.budget import ExactBudget, MediaBudget
from onethinker.media.headers import read_header, scanned_cost
from onethinker.media.prefetch import Decoders
from onethinker.media.reading import read_clip
from onethinker.media.sampling import most_frames
from onethinker.media.sizing import count_tokens, frame_size, image_cost, image_size, video_cost
from onethinker.media.writing import save_clip, save_picture
from onethinker.training.batch import largest_visual_tokens


class Of28Pixels(Qwen3VL):
    """Patches of 14 pixels, four to a visual token."""

    token_side_px = 28


FAMILY = Of28Pixels()
SHAPE = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
BUDGET = FAMILY.fit_budget(MediaBudget(image_max_pixels=200 * 200, frame_max_pixels=100 * 100))


@pytest.fixture(scope="module")
def processor() -> Qwen3VLProcessor:
    tiny = build_tiny_processor()
    return Qwen3VLProcessor(
        Qwen2VLImageProcessor(**SHAPE),
        tiny.tokenizer,
        Qwen3VLVideoProcessor(**SHAPE),
        chat_template=tiny.chat_template,
    )


def noise(num_frames: int, width: int = 300, height: int = 200) -> Clip:
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), np.uint8)
    times = tuple(n / 2 for n in range(num_frames))
    kind = "image" if num_frames == 1 else "video"
    return Clip(kind, frames, times, tuple(range(num_frames)), width, height, num_frames / 2, "noise")


def test_sizes_are_multiples_of_28_and_within_the_budget() -> None:
    assert image_size(300, 200, BUDGET) == (224, 140)
    assert frame_size(300, 200, 5, BUDGET) == (112, 56)
    assert image_cost(300, 200, BUDGET).tokens == 8 * 5
    assert count_tokens(read_clip(noise(5), BUDGET), BUDGET) == 3 * 4 * 2
    assert video_cost(300, 200, 2.5, BUDGET).pairs == 4


def test_a_budget_of_squares_stretches_everything_to_one_size_and_counts_so() -> None:
    squares = MediaBudget(token_side_px=42, frames_per_token=1, square_px=384, video_max_pixels=7 * 384 * 384)
    assert image_size(4000, 30, squares) == frame_size(30, 4000, 7, squares) == (384, 384)
    assert image_cost(640, 480, squares).tokens == 9 * 9
    assert count_tokens(read_clip(noise(5), squares), squares) == 5 * 9 * 9
    assert video_cost(640, 480, None, squares).tokens == largest_visual_tokens(squares) == 7 * 9 * 9


def test_limits_in_tokens_follow_the_side() -> None:
    few = MediaBudget(video_max_pixels=7 * 28 * 28, token_side_px=28)
    assert (most_frames(few), most_frames(few.model_copy(update={"token_side_px": 32}))) == (7, 5)
    assert largest_visual_tokens(BUDGET) == max(200**2 // 28**2, 64 * (100**2 // 28**2))


def test_masks_keep_the_size_of_their_source_whatever_a_token_is() -> None:
    assert read_clip(noise(1), ExactBudget(token_side_px=28)).frames.shape[1:3] == (200, 300)


def test_the_processes_that_decode_get_the_side_too(tmp_path) -> None:
    save_picture(noise(1).frames[0], tmp_path / "noise.png")
    with Decoders(1) as decoders:
        clip = decoders.submit(tmp_path / "noise.png", BUDGET).result()
    assert (clip.width, clip.height) == (224, 140)


def test_headers_promise_what_reading_gives(tmp_path) -> None:
    save_clip(noise(6), tmp_path / "noise.mp4")
    clip, header = read_clip(tmp_path / "noise.mp4", BUDGET), read_header(tmp_path / "noise.mp4")
    assert scanned_cost(tmp_path / "noise.mp4", BUDGET).tokens == count_tokens(clip, BUDGET)
    assert video_cost(header.width, header.height, header.duration_s, BUDGET).tokens >= count_tokens(clip, BUDGET)


def test_its_processor_makes_as_many_visual_tokens_as_were_counted_and_resizes_nothing(processor) -> None:
    media = tuple(read_clip(noise(n), BUDGET) for n in (1, 5))
    requests = [Request("x", media)]
    batch = FAMILY.encode(processor, prompt_texts(processor, requests), requests)
    tokens = [
        int((batch["input_ids"] == token).sum()) for token in (processor.image_token_id, processor.video_token_id)
    ]
    assert tokens == [count_tokens(clip, BUDGET) for clip in media] == [40, 24]
    assert batch["image_grid_thw"].tolist() == [[1, 140 // 14, 224 // 14]]


def test_a_budget_counts_in_the_tokens_of_the_family_of_a_processor(processor) -> None:
    assert fit_budget(BUDGET, processor).token_side_px == 32, "this class of processor is that of a family of 32 pixels"
    assert fit_budget(BUDGET, object()) == BUDGET
