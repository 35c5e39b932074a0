"""`onethinker export`: a trained model as a folder that transformers and vLLM load."""

from pathlib import Path
from typing import Literal

import tyro


def export(
    source: tyro.conf.Positional[Path],
    *,
    output: Path,
    results: tuple[Path, ...] = (),
    dtype: Literal["float32", "bfloat16"] | None = None,
) -> None:
    """Write a run's model as an ordinary Hugging Face folder: adapters merged, a model card beside the weights.

    Args:
        source: Folder of a run (its finished model, else its newest complete checkpoint), of one checkpoint, or of a
            model.
        output: New folder.
        results: Folders of `onethinker evaluate` whose scores the card shows.
        dtype: Dtype of the weights; by default as they were trained.
    """
    from onethinker.report.model_export import export_model

    export_model(source, output, results=results, dtype=dtype)
    print(output)
