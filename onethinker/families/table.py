"""The table of families: what can be done with each, as its file says."""

from collections.abc import Sequence
from dataclasses import dataclass

from onethinker.families.base import ModelFamily
from onethinker.families.registry import families
from onethinker.tasks import Coordinates

OTHERS = (
    "Any other vision-language model of transformers can be asked and evaluated with its own processor, which resizes"
    " frames and counts tokens in its own way. sft, dpo and rl refuse it, and name its layers."
)


@dataclass(frozen=True)
class FamilyRow:
    """A row: the stages that take a family, and what is particular to it."""

    family: str
    model_types: tuple[str, ...]
    """What config.json says in "model_type"."""
    ask: bool
    evaluate: bool
    sft: bool
    dpo: bool
    rl: bool
    shared_prefix: bool
    """Whether prompt and media are computed once for all answers, in rollout and update."""
    vllm: bool
    """Whether vLLM lists its classes; such a server is asked by its address."""
    visual_token: str
    coordinates: Coordinates
    """What boxes and points are counted in: thousandths of the frame, or pixels of the resized one."""
    differs: str


def family_rows() -> list[FamilyRow]:
    """Return a row for each family that is known, those of other packages last."""
    return [_row(family) for family in families()]


def _row(family: ModelFamily) -> FamilyRow:
    return FamilyRow(
        family=family.name,
        model_types=family.model_types,
        ask=True,
        evaluate=True,
        sft=family.is_trained,
        dpo=family.is_trained,
        rl=family.is_trained,
        shared_prefix=family.is_trained,
        vllm=bool(vars(type(family)).get("served_by_vllm")),  # not inherited: nobody has looked
        visual_token=_visual_token(family),
        coordinates=family.coordinates,
        differs=family.differs,
    )


def _visual_token(family: ModelFamily) -> str:
    frames = f"{family.frames_per_token} frames" if family.frames_per_token > 1 else "1 frame"
    return f"{family.token_side_px} x {family.token_side_px} pixels, {frames}"


def cells_of(row: FamilyRow) -> tuple[str, ...]:
    """Return the texts of a row's cells, yes and no for what is true and not."""
    return tuple(
        ("yes" if value else "no")
        if isinstance(value, bool)
        else ", ".join(value)
        if isinstance(value, tuple)
        else str(value)
        for value in vars(row).values()
    )


HEADINGS: Sequence[str] = (
    "family",
    "model type",
    "ask",
    "evaluate",
    "sft",
    "dpo",
    "rl",
    "shared prefix",
    "vLLM",
    "visual token",
    "coordinates",
    "what differs",
)
