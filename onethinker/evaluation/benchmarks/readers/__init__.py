"""Benchmarks in the layouts in which their authors publish them: one file a family, each a generator of samples."""
