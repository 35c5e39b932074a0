"""`onethinker data from-answers`: answers that a person corrected, as records to learn from."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from onethinker.core.errors import ConfigError


def data_from_answers(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    output: Path,
    data: Path | None = None,
    media_root: Path | None = None,
    source: str = "corrected",
    right: float = 0.99,
    answer_only: bool = False,
    json: bool = False,
) -> None:
    """Turn answers that a person has corrected into records for `onethinker sft` and `rl`.

    In each line of answers the person writes (or changes) the field "truth": the content of the right answer, as text
    or JSON. Lines without it are left out. If the model's own answer was right, its text becomes the response for SFT;
    a response written by a person goes into "response". A wrong truth is named with file, row and field, and nothing is
    written.

    Args:
        run: JSONL file of `onethinker ask` (several questions) or results.jsonl of `onethinker evaluate`, with "truth"
            filled in; or a folder of `evaluate` whose results.jsonl was corrected.
        output: New file of records: a JSON list for ".json", otherwise JSONL.
        data: The file of samples that was asked about; answers of `evaluate` are matched to it by id and get its media,
            options and masks.
        media_root: Folder that media paths in --data are relative to; by default that of the file.
        source: The "data_source" for records without one, so that `onethinker data mix` can weight them against older
            records.
        right: From this accuracy on, the model's own text becomes a response for SFT.
        answer_only: Give the other records a response too: the right answer without reasoning, so that SFT can use
            them.
        json: Print one JSON object with counts.
    """
    from onethinker.commands.data_options import check_files, check_output
    from onethinker.storage.folders import RESULTS_FILE
    from onethinker.storage.strict_json import to_json

    file = run / RESULTS_FILE if run.is_dir() else run
    check_files([file, *([data] if data is not None else [])])
    check_output(output, "--output")
    if not 0 <= right <= 1:
        raise ConfigError(f"--right must be from 0 to 1, got {right:g}")
    from onethinker.data.corrections import Corrected, read_corrections, samples_by_id
    from onethinker.data.formats.released import read_samples, write_samples

    find = samples_by_id(read_samples(data, media_root)) if data is not None else None
    corrected = Corrected()
    read_corrections(file, find, corrected, source=source, least=right, answer_only=answer_only)
    samples = list(corrected.samples.values())
    if not samples:
        raise ConfigError(f"{file}: none of {corrected.rows:,} rows has a 'truth'; write the right answers there first")
    write_samples(output.absolute(), samples)
    counts = {
        "rows": corrected.rows,
        "without_truth": corrected.without_truth,
        "written": len(samples),
        "right": corrected.right.total(),
        "with_response": sum(sample.response is not None for sample in samples),
    }
    if json:
        print(to_json(counts))
        return
    print(output)
    print(
        "{written:,} records of {rows:,} answers ({without_truth:,} without a truth); {right:,} were right,"
        " {with_response:,} have a response for SFT".format(**counts),
        file=sys.stderr,
    )
