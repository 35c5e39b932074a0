"""`onethinker data synthetic`: samples that are painted, with truths that are known exactly."""

from pathlib import Path

from onethinker.data.synthetic.worlds import Responses, WorldName


def data_synthetic(
    *,
    output: Path,
    num_samples: int = 1000,
    seed: int = 0,
    split: str = "train",
    side_px: int | None = None,
    world: WorldName = "shapes",
    responses: Responses = "true",
    json: bool = False,
) -> None:
    """Write pictures, clips and questions of every problem type, with exactly known answers.

    The folder gets media/ and samples.jsonl (released form), and appears only when it is complete.

    Args:
        output: New or empty folder.
        num_samples: Number of questions; the problem types take turns.
        seed: Random seed of the scenes.
        split: Name of the split; "test" shares no scene with "train".
        side_px: Side of pictures and frames in pixels, a multiple of 32; by default 128 and 96, for the tiny model
            (192 for clips with text and some others, if things are shown).
        world: What scenes show: shapes, or named things. From "where" to "moments" they are lessons before all
            tasks (docs/world.md). The others are for tests: drawing styles or things that training never shows, longer
            clips, and questions composed of two.
        responses: The responses for SFT: "true" ones; those of a teacher that errs in known ways (loose boxes, late
            spans, counts off by one, …), for a cold start that RL has to correct; or "formats", right in form but about
            another scene. Reference answers are always exact.
        json: Print one JSON object: the file of samples, and their number.
    """
    from onethinker.commands.console import progress_bar
    from onethinker.data.synthetic import write_dataset
    from onethinker.storage.atomic import check_writable
    from onethinker.storage.strict_json import to_file_json

    check_writable(output, "folder", flag="--output")
    with progress_bar("painting") as on_progress:
        path = write_dataset(
            output,
            num_samples=num_samples,
            seed=seed,
            split=split,
            side_px=side_px,
            world=world,
            responses=responses,
            on_progress=on_progress,
        )
    print(to_file_json({"output": str(path), "samples": num_samples}) if json else path)
