"""`onethinker inspect`: what a model would see of a picture or video."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from onethinker.media.budget import MediaBudget
from onethinker.storage.strict_json import to_json

if TYPE_CHECKING:
    from onethinker.core.frames import Clip
GENERAL_BUDGET = MediaBudget()


def inspect(
    source: Annotated[Path, tyro.conf.Positional],
    *,
    json: bool = False,
    sheet: Path | None = None,
    settings: Path | None = None,
    budget: MediaBudget = GENERAL_BUDGET,
    strict_media: bool = False,
) -> None:
    """Show which frames of a picture or video a model sees: their times, size and number of tokens.

    Damaged or missing parts of the file are named too.

    Args:
        source: Picture or video file.
        json: Print one JSON object: frames (index, time_s), width, height, tokens, problems.
        sheet: Write all frames with their times as one picture (.png, .jpg).
        settings: Model folder whose media budget is used, such as runs/rl/model.
        budget: Limits on frames and pixels, if --settings names no model.
        strict_media: Make damage an error (exit 1) instead of showing the readable part.
    """
    from onethinker.media.damage import check_undamaged
    from onethinker.media.reading import read_clip
    from onethinker.media.writing import check_target, contact_sheet, save_picture

    if sheet is not None:
        check_target("image", sheet, flag="--sheet")
    if settings is not None:
        from onethinker.families.folder import read_settings

        budget = read_settings(settings).budget
    clip = read_clip(source, budget)
    if strict_media:
        check_undamaged([clip], [source])
    if sheet is not None:
        save_picture(contact_sheet(clip), sheet)
        print(f"wrote {sheet}", file=sys.stderr)
    print(to_json(_as_json(clip, budget)) if json else _as_text(clip, budget))


def _as_json(clip: "Clip", budget: MediaBudget) -> dict[str, object]:
    from onethinker.media.sizing import count_tokens

    frames = [{"index": index, "time_s": time_s} for index, time_s in zip(clip.indices, clip.times_s, strict=True)]
    return {
        "frames": frames,
        "width": clip.width,
        "height": clip.height,
        "tokens": count_tokens(clip, budget),
        "problems": list(clip.problems),
    }


def _as_text(clip: "Clip", budget: MediaBudget) -> str:
    from onethinker.media.sizing import count_tokens

    seen = (
        f"{clip.width} x {clip.height} pixels of {clip.source_width} x {clip.source_height},"
        f" {count_tokens(clip, budget)} tokens"
    )
    problems = [f"problem: {problem}" for problem in clip.problems]
    if clip.kind == "image":
        return "\n".join([f"{clip.name}: picture, {seen}", *problems])
    rows = [f"{index:>8}  {time_s:>10.3f} s" for index, time_s in zip(clip.indices, clip.times_s, strict=True)]
    about = f"{clip.name}: video of {clip.duration_s:.3f} s, {len(rows)} frames of {seen}"
    return "\n".join([about, *problems, "   frame        time", *rows])
