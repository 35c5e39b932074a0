"""Worlds whose truth is known exactly: pictures and clips, questions of every problem type, answers to learn from."""

from onethinker.data.synthetic.dataset import write_dataset
from onethinker.data.synthetic.samples import KINDS, make_pair, make_sample

__all__ = ["KINDS", "make_pair", "make_sample", "write_dataset"]
