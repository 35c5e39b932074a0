"""Ten visual tasks, one model: ask, train, evaluate."""
