"""How a token is drawn: by a uniform number of the row's own, so that neither batch nor device decides."""

import torch
from torch import Tensor

# B rows, V tokens of the vocabulary


def draw_tokens(logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Return for each row the token at which its cumulated probability passes its uniform number of 0 to 1.

    >>> draw_tokens(torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([0.4, 0.6])).tolist()
    [0, 1]
    """
    cumulated_BV = torch.softmax(logits_BV.double(), -1).cumsum(-1)
    # Scaled by the last value, so that rounding can never leave the uniform above all of them.
    tokens_B1 = torch.searchsorted(cumulated_BV, (uniform_B.double() * cumulated_BV[:, -1])[:, None], right=True)
    return tokens_B1[:, 0].clamp(max=logits_BV.shape[1] - 1)
