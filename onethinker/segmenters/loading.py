"""SAM 2 and SAM 3 from a folder or a hub id: which of them it is, what it can do, and its weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from onethinker.core.errors import EngineError
from onethinker.core.nearest import ask_for, near_path
from onethinker.core.sources import home_path
from onethinker.families.hub import HUB_ID, hub_answers
from onethinker.processes.machine import default_device
from onethinker.segmenters.sam2 import SAM3, Sam2Segmenter
from onethinker.segmenters.sam3 import PictureSegmenter, TextSegmenter, only_pictures

MODEL_TYPES = ("sam2_video", "sam3_tracker_video", "sam3_video", "sam3_tracker", "sam3")
"""What config.json calls weights that can be used. facebook/sam3 is a "sam3_video": a detector, which reads words, and
a tracker, which is loaded alone for a box and points."""
FOR_PICTURES = ("sam3_tracker", "sam3")
READ_WORDS = ("sam3", "sam3_video")
BY_TEXT = ":text"
"""What a name ends in that asks a whole SAM 3 by words."""
HUB_EXAMPLE = "facebook/sam2.1-hiera-large"
HUB_EXAMPLE_3 = "facebook/sam3"
ALIASES = dict.fromkeys(("sam", "sam2", "sam 2", "sam2 1"), (HUB_EXAMPLE,)) | {"sam3": (HUB_EXAMPLE_3,)}


def load_sam(name: str, kind: str | None = None) -> Sam2Segmenter | TextSegmenter | PictureSegmenter:
    """Return SAM 2 or SAM 3 from a folder or a hub id ("facebook/sam2.1-hiera-large", "facebook/sam3",
    "facebook/sam3:text"), on the first GPU if there is one, in float32. The name of a SAM 3 says that it is one, and
    whether words are its prompt.

    `kind` is what it will cut, "image" or "video", where that is known.

    Raises: EngineError: there is no such folder, its weights are of neither or cannot do this, or the hub cannot be
    reached.
    """
    model = name.removesuffix(BY_TEXT)
    folder = home_path(model)
    if name == f"grabcut{BY_TEXT}":
        raise EngineError(
            f"{name}: GrabCut cannot search by words; leave out {BY_TEXT}, or use {HUB_EXAMPLE_3}{BY_TEXT}"
        )
    if not folder.is_dir() and (not HUB_ID.fullmatch(model) or model.startswith(".")):
        near = near_path(folder) or ask_for(model, ("grabcut", HUB_EXAMPLE), ALIASES)
        raise EngineError(f"{model}: no such folder, and not a hub id such as {HUB_EXAMPLE} or {HUB_EXAMPLE_3}{near}")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise EngineError(f"{model}: the folder contains no model: there is no config.json in it")
    # Mistakes that show without torch are reported; from here on it is imported.
    source, offline = (str(folder), True) if folder.is_dir() else (model, not hub_answers(model))
    word = _model_type(model, source, offline=offline)
    if name != model and word not in READ_WORDS:
        raise EngineError(
            f"{name}: a {word!r} cannot search by words; leave out {BY_TEXT}, or use {HUB_EXAMPLE_3}{BY_TEXT}"
        )
    by_text = name != model or word == "sam3"
    if kind == "video" and word in FOR_PICTURES:
        raise EngineError(only_pictures(model, by_text=by_text))
    read = partial(_read, model, source, offline=offline)
    if by_text:
        return _by_text(model, read, is_whole=word == "sam3_video")
    if word == "sam3_tracker":
        return PictureSegmenter(*read("Sam3TrackerModel", "Sam3TrackerProcessor"), f"{model}{SAM3})")
    if word == "sam2_video":
        return Sam2Segmenter(*read("Sam2VideoModel", "Sam2VideoProcessor"), model)
    return Sam2Segmenter(*read("Sam3TrackerVideoModel", "Sam3TrackerVideoProcessor"), f"{model}{SAM3})")


def _by_text(model: str, read: Callable[[str, str], tuple[Any, Any]], *, is_whole: bool) -> TextSegmenter:
    """Return the detector of a SAM 3, with its tracker, on the same backbone, where there is one."""
    detector, processor = read("Sam3Model", "Sam3Processor")
    tracker = None
    if is_whole:
        network, tracking = read("Sam3TrackerVideoModel", "Sam3TrackerVideoProcessor")
        network.vision_encoder.backbone = detector.vision_encoder.backbone  # the same weights, once in memory
        tracker = Sam2Segmenter(network, tracking, f"{model}{SAM3})")
    return TextSegmenter(detector, processor, f"{model}{SAM3} by text)", tracker)


def _model_type(model: str, source: str, *, offline: bool) -> str:
    """Return which SAM a folder or hub id holds. Raises: EngineError: none that can be used."""
    from transformers import AutoConfig

    with _reading(model):
        word: str = AutoConfig.from_pretrained(source, local_files_only=offline).model_type
    if word not in MODEL_TYPES:
        raise EngineError(
            f"{model}: expected the weights of a SAM 2 or SAM 3 ({', '.join(MODEL_TYPES)} in config.json), got {word!r}"
        )
    return word


def _read(model: str, source: str, network_class: str, processor_class: str, *, offline: bool) -> tuple[Any, Any]:
    """Return a network, on the device, and its processor. Raises: EngineError."""
    import transformers

    with _reading(model):
        processor = getattr(transformers, processor_class).from_pretrained(source, local_files_only=offline)
        network, found = getattr(transformers, network_class).from_pretrained(
            source, local_files_only=offline, output_loading_info=True, dtype="float32"
        )
    if missing := sorted(found["missing_keys"]):
        raise EngineError(
            f"{model}: some weights of the {network_class} are missing: {', '.join(missing[:3])}; copy or download the"
            " model again"
        )
    return network.to(default_device()).eval(), processor


@contextmanager
def _reading(model: str) -> Iterator[None]:
    """Turn what reading a damaged or foreign folder raises into one EngineError."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        ImportError,
        RuntimeError,
        SafetensorError,
        StrictDataclassError,
    ) as error:
        raise EngineError(f"{model}: this SAM model cannot be loaded: {str(error).strip()[:600]}") from error
