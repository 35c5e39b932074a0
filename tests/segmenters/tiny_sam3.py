"""A SAM 3 tracker of random weights, of the same classes as the real one, as small as they can be."""

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    CLIPTokenizer,
    Sam2VideoVideoProcessor,
    Sam3ImageProcessor,
    Sam3Model,
    Sam3Processor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    Sam3TrackerProcessor,
    Sam3TrackerVideoConfig,
    Sam3TrackerVideoModel,
    Sam3TrackerVideoProcessor,
    Sam3VideoConfig,
    Sam3VideoModel,
    Sam3VideoProcessor,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.segmenters.tiny_sam2 import draw_weights

SIDE_PX = 56
PATCH_PX = 14


def save_tiny_sam3(folder: Path, *, seed: int = 0) -> Path:
    """Write weights and processor into a folder, from which `from_pretrained` reads them."""
    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE_PX,
        "patch_size": PATCH_PX,
        "window_size": 2,
        "global_attn_indexes": [1],
        "pretrain_image_size": 2 * PATCH_PX,
    }
    config = Sam3TrackerVideoConfig(
        vision_config={"model_type": "sam3_vision_model", "backbone_config": backbone, "fpn_hidden_size": 128},
        prompt_encoder_config={"hidden_size": 128, "image_size": SIDE_PX, "patch_size": PATCH_PX},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 64, "iou_head_hidden_dim": 32},
        image_size=SIDE_PX,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
        memory_encoder_hidden_size=128,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=64,
        memory_fuser_num_layers=1,
    )
    model = draw_weights(lambda: Sam3TrackerVideoModel(config), seed)
    size = {"height": SIDE_PX, "width": SIDE_PX}
    model.save_pretrained(folder)
    Sam3TrackerVideoProcessor(image_processor(), Sam2VideoVideoProcessor(size=size)).save_pretrained(folder)
    return folder


def save_tiny_whole_sam3(tracker: Path, folder: Path) -> Sam3VideoModel:
    """Write a whole SAM 3, detector and tracker as facebook/sam3 has them, of a tracker's sizes; return it."""
    sizes = AutoConfig.from_pretrained(tracker).to_dict()
    small = {"hidden_size": 128, "num_layers": 1, "intermediate_size": 64}
    words = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    detector = {
        "vision_config": sizes["vision_config"],
        "text_config": {
            **words,
            "projection_dim": 32,
            "vocab_size": 514,
            "bos_token_id": 512,
            "eos_token_id": 513,
            "max_position_embeddings": 32,
        },
        "geometry_encoder_config": small,
        "detr_encoder_config": small,
        "detr_decoder_config": {**small, "num_queries": 4},
        "mask_decoder_config": {"hidden_size": 128},
    }
    config = Sam3VideoConfig(detector_config=detector, tracker_config=sizes)
    model = draw_weights(lambda: Sam3VideoModel(config), 1)
    presence = model.detector_model.detr_decoder.presence_head.layer3
    with torch.no_grad():
        presence.weight.zero_()
        presence.bias.fill_(5)
    model.save_pretrained(folder)
    videos = Sam2VideoVideoProcessor(size={"height": SIDE_PX, "width": SIDE_PX})
    Sam3VideoProcessor(image_processor(), videos, tokenizer()).save_pretrained(folder)
    return model


def save_tiny_detector(whole: Path, folder: Path) -> Path:
    """Write the detector of a whole SAM 3, which reads words, as a "sam3" of its own."""
    Sam3Model.from_pretrained(whole).save_pretrained(folder)
    Sam3Processor(image_processor(), tokenizer()).save_pretrained(folder)
    return folder


def image_processor() -> Sam3ImageProcessor:
    return Sam3ImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX})


def tokenizer() -> CLIPTokenizer:
    """CLIP's, with a token for every byte and none for longer pieces."""
    signs = [*bytes_to_unicode().values()]
    special = ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = [*signs, *(f"{sign}</w>" for sign in signs), *special]
    return CLIPTokenizer({sign: index for index, sign in enumerate(vocabulary)}, [])


def save_tiny_picture_sam3(tracker: Path, folder: Path) -> Path:
    """Write the part of a tracker that cuts pictures, as a "sam3_tracker" of its own."""
    own = Sam3TrackerVideoModel.from_pretrained(tracker)
    sizes = own.config.to_dict()
    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    model = Sam3TrackerModel(Sam3TrackerConfig(**{part: sizes[part] for part in parts}))
    assert model.load_state_dict(own.state_dict(), strict=False).missing_keys == []
    model.save_pretrained(folder)
    Sam3TrackerProcessor(image_processor()).save_pretrained(folder)
    return folder
