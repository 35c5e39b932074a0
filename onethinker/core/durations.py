"""Seconds in words."""


def in_words(seconds: float) -> str:
    """Return seconds as people say them.

    >>> in_words(75.4), in_words(7200)
    ('1 min 15 s', '2 h 0 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
