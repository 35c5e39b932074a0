"""What answers of a served model cost, and when a budget is used up."""

from dataclasses import dataclass, field
from math import inf

MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """Money for a million tokens of prompts, and for a million of answers, in any currency."""

    prompt: float = 0.0
    answer: float = 0.0


@dataclass
class Spending:
    """Tokens that were paid for, and what they cost."""

    price: Price = field(default_factory=Price)
    prompt_tokens: int = 0
    answer_tokens: int = 0

    def add(self, prompt_tokens: int, answer_tokens: int) -> None:
        """Take in an answer."""
        self.prompt_tokens += prompt_tokens
        self.answer_tokens += answer_tokens

    @property
    def tokens(self) -> int:
        """Tokens of prompts and answers."""
        return self.prompt_tokens + self.answer_tokens

    @property
    def cost(self) -> float:
        """What they cost.

        >>> Spending(Price(prompt=0.5, answer=2), prompt_tokens=4_000_000, answer_tokens=100_000).cost
        2.2
        """
        return (self.prompt_tokens * self.price.prompt + self.answer_tokens * self.price.answer) / MILLION


@dataclass(frozen=True)
class Budget:
    """How many tokens, and how much money, may be spent; no limit unless said."""

    tokens: float = inf
    cost: float = inf

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return min(self.tokens, self.cost) < inf

    def share(self, count: int) -> "Budget":
        """Return what one of so many equal shards may spend."""
        return Budget(self.tokens / count, self.cost / count)

    def used_up(self, tokens: int, cost: float) -> str:
        """Return what is used up, in words; "" while there is some of all left.

        >>> Budget(cost=5).used_up(10, 5.0), Budget(cost=5).used_up(10, 4.9)
        ('the budget of money is used up', '')
        """
        if tokens >= self.tokens:
            return "the budget of tokens is used up"
        return "the budget of money is used up" if cost >= self.cost else ""
