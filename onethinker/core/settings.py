"""The base of all settings: typed, strict, documented."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every group of settings: unknown keys and numbers that are not finite fail, nothing changes once it is
    read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FlagSettings(Settings):
    """Base of settings that a command line is made from: the sentences below the fields are the help of the flags."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Join the lines of each field's help: the help of a command breaks them where its own lines end."""
        for field in cls.model_fields.values():
            if field.description is not None:
                field.description = " ".join(field.description.split())
