"""The arithmetic of one step: how many prompts and completions, on how many processes, and how long they are."""

import math
from dataclasses import dataclass

from onethinker.core.errors import ConfigError
from onethinker.families.base import FRAME_TIME_TOKENS
from onethinker.media.budget import MediaBudget
from onethinker.media.sampling import most_frames
from onethinker.media.sizing import frame_tokens
from onethinker.training.config import Recipe, RlRecipe, SftRecipe
from onethinker.training.lengths import Length

TEXT_TOKENS = 1024
"""What question, options and instructions take at most in an estimate; a time before each pair of frames comes on
top.
"""


@dataclass(frozen=True)
class Batch:
    """The arithmetic of one step: how many prompts and answers, where, and how long."""

    processes: int
    prompts: int
    answers: int
    updates: int
    visual_tokens: int
    prompt_tokens: int
    answer_tokens: int
    max_row_tokens: int

    @property
    def prompts_per_process(self) -> int:
        """Prompts of a step on the process that has most of them."""
        return math.ceil(self.prompts / self.processes)

    @property
    def group_tokens(self) -> int:
        """Tokens of the longest prompt with all of its longest answers."""
        return self.prompt_tokens + self.answers * self.answer_tokens

    @property
    def row_tokens(self) -> int:
        """Tokens of the longest row there can be: a prompt whose answers do not fit into one row stands in several."""
        return max(self.prompt_tokens + self.answer_tokens, self.max_row_tokens)

    @property
    def groups_per_row(self) -> int:
        """Prompts with all of their answers that fit into a row when they are as long as can be, 1 where none does."""
        return max(1, self.max_row_tokens // self.group_tokens)

    @property
    def rows(self) -> int:
        """Rows of an update on one process, when every prompt and every answer is as long as it can be."""
        prefix_groups = math.ceil(self.prompts_per_process / self.updates)
        if self.group_tokens <= self.max_row_tokens:
            return math.ceil(prefix_groups / self.groups_per_row)
        answers_per_row = max(1, (self.max_row_tokens - self.prompt_tokens) // self.answer_tokens)
        return prefix_groups * math.ceil(self.answers / answers_per_row)


def plan_batch(recipe: Recipe, budget: MediaBudget, processes: int, longest: Length | None = None) -> Batch:
    """Return the arithmetic of a recipe's step; `longest` is what its records take at most, where that is known.

    Raises: ConfigError: the batch does not divide by the processes, or by the updates of a batch.
    """
    visual = largest_visual_tokens(budget)
    times = FRAME_TIME_TOKENS * math.ceil(budget.max_frames / budget.frames_per_token)
    if isinstance(recipe, RlRecipe):
        settings, updates = recipe.rollout, recipe.loss.updates_per_batch
        name, prompts, answers, answer_tokens = (
            "rollout.generation_batch_size",
            settings.generation_batch_size,
            settings.group_size,
            settings.max_new_tokens,
        )
    else:
        assert isinstance(recipe, SftRecipe)
        name, prompts, answers, updates = "batch_size", recipe.batch_size, 1, 1
        answer_tokens = TEXT_TOKENS * (2 if recipe.need == "rejected" else 1)
    for what, count in (("processes", processes), ("updates (loss.updates_per_batch)", updates)):
        if prompts % count:
            near = [size for size in (prompts - prompts % count, prompts - prompts % count + count) if size]
            raise ConfigError(
                f"{name} = {prompts} is not divisible by {count} {what}: some would get more than others, and the rest"
                f" would wait. Choose {' or '.join(map(str, near))}"
            )
    prompt_tokens = visual + times + TEXT_TOKENS
    if longest is not None:
        visual, prompt_tokens, answer_tokens = longest.visual, longest.prompt, longest.answer
    return Batch(processes, prompts, answers, updates, visual, prompt_tokens, answer_tokens, recipe.max_row_tokens)


def largest_visual_tokens(budget: MediaBudget) -> int:
    """Return how many visual tokens the largest picture or the longest video takes.

    >>> largest_visual_tokens(MediaBudget())
    12288
    """
    area = budget.token_pixels
    if budget.square_px is not None:
        return most_frames(budget) * frame_tokens(budget.square_px, budget.square_px, budget)
    frame = min(budget.frame_max_pixels, budget.video_max_pixels // budget.max_frames) // area
    return max(budget.image_max_pixels // area, math.ceil(budget.max_frames / budget.frames_per_token) * max(1, frame))
