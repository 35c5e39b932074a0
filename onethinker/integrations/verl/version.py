"""Which verl this is written for: it overrides parts of its trainer that change between versions."""

from importlib.metadata import PackageNotFoundError, version

from onethinker.core.errors import ConfigError

VERL_VERSION = "0.9.1"
"""The one version."""


def check_version(found: str | None) -> None:
    """Do nothing for the verl that this is written for, None for none.

    Raises: ConfigError: it is another.

    >>> check_version("0.9.1")
    """
    if found != VERL_VERSION:
        raise ConfigError(
            f"onethinker needs verl {VERL_VERSION}, whose trainer it extends, but found"
            f" {'no verl' if found is None else f'verl {found}'}: pip install verl=={VERL_VERSION} in an environment of"
            " its own (cluster/verl/)"
        )


def installed_version() -> str | None:
    """Return the version of verl in this environment, None without it."""
    try:
        return version("verl")
    except PackageNotFoundError:
        return None
