"""What DPO is told: an SFT recipe whose records are preferences, and how these become a loss."""

from typing import ClassVar

from pydantic import Field, model_validator

from onethinker.core.settings import Settings
from onethinker.data.validate import Need
from onethinker.training.config import SftRecipe


class PreferenceLossSettings(Settings):
    """How preferences become a loss."""

    beta: float = Field(0.1, gt=0)
    """How strongly the model is tied to the reference: the reward of a response is beta times the log ratio of its
    probabilities under the model and the reference."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Assumed fraction of preferences with chosen and rejected swapped."""
    length_normalized: bool = False
    """Divide the log ratio of a response by its number of tokens, so that long responses do not count more; beta is
    then larger, 1 to 10."""


class DpoRecipe(SftRecipe):
    """Direct preference optimization: the chosen response becomes likelier than the rejected one."""

    loss: PreferenceLossSettings = PreferenceLossSettings()
    """How preferences become a loss."""
    need: ClassVar[Need] = "rejected"

    @property
    def has_reference(self) -> bool:
        """Always: the loss compares with it."""
        return True

    @model_validator(mode="after")
    def _check_too_long(self) -> "DpoRecipe":
        if self.data.too_long == "truncate":
            raise ValueError(
                'data.too_long must be "error" or "skip" in DPO, which compares whole responses, got "truncate"'
            )
        return self

    @model_validator(mode="after")
    def _check_dropout(self) -> "DpoRecipe":
        if self.lora is not None and self.lora.dropout:
            raise ValueError(
                "lora.dropout must be 0 in DPO, because its noise would make the model differ from the reference; got"
                f" {self.lora.dropout}"
            )
        return self
