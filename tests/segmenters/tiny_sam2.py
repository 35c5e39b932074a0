"""A SAM 2 of half a million random weights, of the same classes as the real one, as small as they can be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Sam2ImageProcessor,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VideoProcessor,
    Sam2VideoVideoProcessor,
)

SIDE_PX = 64


def save_tiny_sam2(folder: Path, *, seed: int = 0) -> Path:
    """Write weights and processor into a folder, from which `from_pretrained` reads them."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 16,
        "image_size": [SIDE_PX, SIDE_PX],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    }
    config = Sam2VideoConfig(
        vision_config={
            "backbone_config": backbone,
            "backbone_channel_list": [128, 64, 32, 16],
            "backbone_feature_sizes": [[SIDE_PX // side, SIDE_PX // side] for side in (4, 8, 16)],
            "fpn_hidden_size": 128,
        },
        prompt_encoder_config={"hidden_size": 128, "image_size": SIDE_PX},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 64, "iou_head_hidden_dim": 32},
        image_size=SIDE_PX,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[SIDE_PX // 16, SIDE_PX // 16],
        memory_encoder_hidden_size=128,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=64,
        memory_fuser_num_layers=1,
    )
    model = draw_weights(lambda: Sam2VideoModel(config), seed)
    size = {"height": SIDE_PX, "width": SIDE_PX}
    model.save_pretrained(folder)
    Sam2VideoProcessor(Sam2ImageProcessor(size=size), Sam2VideoVideoProcessor(size=size)).save_pretrained(folder)
    return folder


def draw_weights(make_model: Callable[[], Any], seed: int) -> Any:
    """Return a model whose weights are large enough that prompts and memory do not drown in rounding; norms keep their
    scale of 1. It always says that the object is seen.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make_model()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight.normal_(0, weight[0].numel() ** -0.5)
            seen = getattr(model, "tracker_model", model).mask_decoder.pred_obj_score_head.proj_out
            seen.weight.zero_()
            seen.bias.fill_(5)
    return model
