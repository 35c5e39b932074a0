"""`onethinker export`: a trained model as a folder that others load: transformers, vLLM, OpenVINO or llama.cpp."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from onethinker.core.errors import ConfigError

if TYPE_CHECKING:
    from onethinker.report.conversion.base import Converter


def export(
    source: tyro.conf.Positional[Path],
    *,
    output: Path,
    results: tuple[Path, ...] = (),
    dtype: Literal["float32", "bfloat16"] | None = None,
    to: Literal["openvino", "gguf"] | None = None,
    python: str | None = None,
    llama_cpp: Path | None = None,
    llama_server: str | None = None,
    pre_tokenizer: str | None = None,
) -> None:
    """Write a run's model as an ordinary Hugging Face folder, with adapters merged and a model card.

    With --to the model is converted by the converter of OpenVINO or llama.cpp, and its answers are compared with the
    original's.

    Args:
        source: Folder of a run (its finished model, otherwise its newest complete checkpoint), of one checkpoint, or of
            a model; "tiny" is the model that comes with OneThinker.
        output: New folder.
        results: Folders of `onethinker evaluate` whose scores the model card shows.
        dtype: Dtype of the weights; by default as they were trained.
        to: Format of another library (docs/models.md says what each needs).
        python: The Python of an environment that has the converter; by default this one.
        llama_cpp: A checkout of llama.cpp, if that environment does not have its converter.
        llama_server: Path of llama.cpp's server, which runs the converted model for the comparison; by default
            llama-server.
        pre_tokenizer: How llama.cpp splits text into words, such as qwen2, if its converter does not know the
            tokenizer.
    """
    from onethinker.report.model_export import export_model

    given = {"--python": python, "--llama-cpp": llama_cpp, "--llama-server": llama_server}
    given["--pre-tokenizer"] = pre_tokenizer
    if to is None:
        _refuse(given, "--to")
        export_model(source, output, results=results, dtype=dtype)
        print(output)
        return
    from onethinker.report.conversion.model import convert_model

    converter: Converter
    if to == "openvino":
        from onethinker.report.conversion.openvino import OpenVino

        _refuse({name: value for name, value in given.items() if name != "--python"}, "--to gguf")
        if dtype == "bfloat16":
            raise ConfigError("--dtype bfloat16: OpenVINO's weights are written in float32")
        converter = OpenVino(python or sys.executable)
    else:
        from onethinker.report.conversion.gguf import Gguf

        converter = Gguf(python or sys.executable, llama_cpp, llama_server or "llama-server", pre_tokenizer, dtype)
    found = convert_model(
        source, output, converter, results=results, dtype=dtype, say=lambda text: print(text, file=sys.stderr)
    )
    print(f"{found.equal} of {found.asked} greedy answers equal those of the original")
    print(output)


def _refuse(given: Mapping[str, object], flag: str) -> None:
    """Raise ConfigError for a flag that needs another one."""
    if wrong := next((name for name, value in given.items() if value is not None), None):
        raise ConfigError(f"{wrong} needs {flag}")
