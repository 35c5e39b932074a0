"""How a model is asked: the flags that `ask`, `segment` and `evaluate` have in common, each documented once."""

from pathlib import Path
from typing import Literal

from onethinker.core.settings import FlagSettings
from onethinker.tasks.base import Coordinates

Quantization = Literal["int8", "int4"]
MODEL_HELP = (
    'A Hugging Face id, a model folder, "tiny" (the model that comes with OneThinker), or the address of a server such'
    " as http://host:8000/v1. Several servers of the same model are separated by commas."
)
READING_HELP = (
    'How answers are read: "strict" accepts only the exact form; "lenient" also accepts other forms that models write,'
    " and names each repair."
)


class AskingSettings(FlagSettings):
    """Model and sampling options, shared by all commands that ask a model."""

    prompt_template: Path | None = None
    """TOML file with the prompt template (the text around a question), for weights that were trained with another
    one."""
    settings: Path | None = None
    """With a server as the model: a model folder, whose prompt template and media budget are used."""
    quantize: Quantization | None = None
    """Store the weights of a model loaded here in 8 or 4 bits (torchao): less memory, at some cost in accuracy."""
    max_new_tokens: int = 4096
    """Maximum length of an answer, in tokens."""
    seed: int = 0
    """Random seed for sampling."""


class ReadingSettings(FlagSettings):
    """How answers are read, shared by all commands that read them."""

    coordinates: Coordinates | None = None
    """Unit in which the model gives boxes and points: "thousandths" of the frame, or "pixels" of the frames it is
    shown. By default what the model folder's onethinker.json says under "coordinates", otherwise what the model's
    family uses."""
