"""How a model is asked: the flags that `ask`, `segment` and `evaluate` have in common, each documented once."""

from pathlib import Path
from typing import Literal

from onethinker.core.settings import FlagSettings
from onethinker.tasks.base import Coordinates

Quantization = Literal["int8", "int4"]
MODEL_HELP = (
    'A Hugging Face id, a model folder, "tiny", which comes with OneThinker, or the address of a server such as'
    " http://host:8000/v1; several servers of one model with commas between."
)
READING_HELP = (
    'How answers are read: "strict" takes the exact form alone; "lenient" also what other models write, and names each'
    " repair."
)


class AskingSettings(FlagSettings):
    """How a model is asked, whichever command asks."""

    prompt_template: Path | None = None
    """TOML file with the words around a question, for weights trained with other ones."""
    settings: Path | None = None
    """Folder of the model that a server serves: its prompt template and media budget are used."""
    quantize: Quantization | None = None
    """Store the weights of a model that runs here in 8 or 4 bits (torchao): less memory, for some accuracy."""
    max_new_tokens: int = 4096
    """Longest answer, in tokens."""
    seed: int = 0
    """Seed of the sampling."""


class ReadingSettings(FlagSettings):
    """How answers are read, whichever command reads them."""

    coordinates: Coordinates | None = None
    """What the model counts boxes and points in: "thousandths" of the frame, or "pixels" of the frames it is shown. By
    default what the model folder's onethinker.json says under "coordinates", else what its family does."""
