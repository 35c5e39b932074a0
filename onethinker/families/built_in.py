"""The models that need no download, by name: small, with random weights, built in memory."""

TINY = "tiny"
"""For the world of shapes, which it learns in minutes; untrained it shows that everything runs, and knows nothing."""
UNTRAINED = (TINY, "untrained-things")
"""Both: the second is larger, for the world of things."""
