"""Seconds in words."""


def in_words(seconds: float) -> str:
    """Return seconds as people say them.

    >>> in_words(75.4), in_words(7200)
    ('1 min 15 s', '2 h 0 min')
    """
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    return (
        f"{rounded // 60} min {rounded % 60} s" if rounded < 3600 else f"{rounded // 3600} h {rounded % 3600 // 60} min"
    )
