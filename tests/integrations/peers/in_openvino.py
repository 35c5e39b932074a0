"""An exported folder answers in OpenVINO as in transformers: run where optimum-intel is installed, by
`make test-integrations`.
"""

from pathlib import Path

import pytest
import torch
from optimum.exporters.openvino import main_export
from optimum.intel import OVModelForVisualCausalLM
from PIL import Image, ImageDraw
from transformers import AutoModelForImageTextToText, AutoProcessor

FOLDER = Path(__file__).resolve().parents[3] / "onethinker/families/weights"
"""The model in the box, as `onethinker export` writes folders."""
QUESTIONS = ("number: How many squares are there?", "box: Where is the red square?")


def picture(left: int) -> Image.Image:
    image = Image.new("RGB", (96, 96), "white")
    ImageDraw.Draw(image).rectangle((left, 20, left + 30, 50), fill="red")
    return image


def inputs(processor, kind: str, question: str):
    content = [{"type": kind}, {"type": "text", "text": question}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    if kind == "image":
        return processor(text=[text], images=[picture(10)], return_tensors="pt")
    frames = torch.stack([torch.tensor(list(picture(left).resize((64, 64)).tobytes())) for left in (10, 20, 30, 40)])
    frames = frames.reshape(4, 64, 64, 3).permute(0, 3, 1, 2).to(torch.uint8)
    metadata = {"fps": 2.0, "frames_indices": [0, 1, 2, 3], "total_num_frames": 4}
    videos = {"do_sample_frames": False, "video_metadata": [metadata]}
    return processor(text=[text], videos=[frames], videos_kwargs=videos, return_tensors="pt")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("openvino")
    main_export(str(FOLDER), folder, task="image-text-to-text", local_files_only=True)
    return folder


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_exported_model_answers_as_the_original(exported, kind, question):
    processor = AutoProcessor.from_pretrained(FOLDER)
    original = AutoModelForImageTextToText.from_pretrained(FOLDER, dtype=torch.float32)
    # Without it OpenVINO computes in bfloat16 where the processor has it.
    other = OVModelForVisualCausalLM.from_pretrained(exported, ov_config={"INFERENCE_PRECISION_HINT": "f32"})
    batch = inputs(processor, kind, question)
    answers = [model.generate(**batch, max_new_tokens=48, do_sample=False).tolist() for model in (original, other)]
    assert answers[0] == answers[1]
    assert "<answer>" in processor.decode(answers[0][0][batch["input_ids"].shape[1] :])
