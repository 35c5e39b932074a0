"""OpenVINO, by the converter and the runtime of optimum-intel, in an environment of their own."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onethinker.core.request import Request, SamplingParams
from onethinker.inference.encode import answer_opening, encode_requests
from onethinker.report.conversion.base import Converter, Say, check_python, refuse_unknown, run_program

if TYPE_CHECKING:
    from onethinker.inference.local import LocalEngine

INSTALL = "pip install optimum-intel==2.2.0 openvino==2026.4.1 transformers==5.0.0 torch torchvision"
PROGRAM = "in_openvino.py"


@dataclass(frozen=True)
class OpenVino(Converter):
    """Weights in float32; `python` belongs to an environment with optimum-intel."""

    python: str

    kinds = ("image", "video")

    def check(self) -> None:
        """Do nothing where optimum-intel is there. Raises: ConfigError."""
        hint = f"make an environment of its own by `{INSTALL}`, and give its Python (docs/models.md)"
        check_python(self.python, ["optimum", "openvino"], hint=hint)

    def convert(self, original: Path, made: Path, say: Say) -> None:
        """Write the model's parts and its processor. Raises: EngineError."""
        arguments = ["convert", original.absolute(), made.absolute()]
        report = run_program(self.python, PROGRAM, arguments, say=say, what="optimum-intel's converter")
        refuse_unknown(report, converter="optimum-intel")

    def answers(
        self, made: Path, engine: "LocalEngine", requests: Sequence[Request], params: SamplingParams, say: Say
    ) -> list[str]:
        """Return greedy answers to the inputs that the original reads. Raises: EngineError."""
        import torch

        from onethinker.inference.local import decode_tokens

        with tempfile.TemporaryDirectory() as place:
            paths = [Path(place) / f"{index}.pt" for index in range(len(requests))]
            for path, request in zip(paths, requests, strict=True):
                torch.save(dict(encode_requests(engine.processor, [request])), path)
            arguments = ["answer", made.absolute(), params.max_new_tokens, *paths]
            report = run_program(self.python, PROGRAM, arguments, say=say, what="OpenVINO's answers")
        tokenizer, opening = engine.processor.tokenizer, answer_opening(engine.processor)
        return [opening + decode_tokens(tokenizer, [int(token) for token in line.split()]) for line in report]
