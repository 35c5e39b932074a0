"""Conversations as prefix groups: every answer that is marked to be learned, after just what the chat template writes
before it.
"""

from collections.abc import Sequence
from itertools import accumulate

from torch import Tensor

from onethinker.core.errors import EngineError
from onethinker.core.request import Request
from onethinker.core.sample import Sample
from onethinker.inference.encode import prompt_texts
from onethinker.training.data_source import DataSource
from onethinker.training.packing.row import PrefixGroup, Prompt


def conversation_groups(data: DataSource, sample: Sample, request: Request) -> list[PrefixGroup]:
    """Return the learned answers of a conversation: one prefix group, whose prompt holds all but the last of them.

    Where the chat template rewrites what was said before (models that think leave earlier thinking out), an answer
    has other words before it than a row with all of them would show; it then has a prefix group of its own, as when it
    is asked.
    """
    asked = _learned(sample, request)
    tokenizer = data.processor.tokenizer
    answers = [data.answer_ids(text) for _, text in asked]
    texts = prompt_texts(data.processor, [request for request, _ in asked])
    said = [
        [*ids, *answer.tolist()]
        for ids, answer in zip(tokenizer(texts, add_special_tokens=False)["input_ids"], answers, strict=True)
    ]
    chains: list[list[int]] = []
    for index, tokens in enumerate(said):
        if chains and _goes_on(said[chains[-1][-1]], tokens):
            chains[-1].append(index)
        else:
            chains.append([index])
    prompts = data.prompts([asked[chain[-1]][0] for chain in chains])
    end = tokenizer.eos_token_id
    return [
        PrefixGroup(
            prompt,
            (answers[chain[-1]],),
            learned=tuple(_find(prompt, answers[index], said[index].count(end), end) for index in chain[:-1]),
            samples=(sample.id,),
        )
        for prompt, chain in zip(prompts, chains, strict=True)
    ]


def _learned(sample: Sample, request: Request) -> list[tuple[Request, str]]:
    """Return for each learned answer the request that it answers, and its text."""
    asked = [*(turn.question for turn in sample.earlier), sample.problem]
    answered = [*((turn.answer, turn.learn) for turn in sample.earlier), (sample.response or "", True)]
    shown = request.shown or (len(request.media), *[0] * len(sample.earlier))
    ends = list(accumulate(shown))
    return [
        (
            Request(
                asked[turn],
                request.media[: ends[turn]],
                request.system,
                earlier=request.earlier[:turn],
                shown=shown[: turn + 1],
            ),
            text,
        )
        for turn, (text, learn) in enumerate(answered)
        if learn
    ]


def _goes_on(before: Sequence[int], after: Sequence[int]) -> bool:
    """Tell whether a prompt with its answer is how the next one begins."""
    return list(after[: len(before)]) == list(before)


def _find(prompt: Prompt, answer: Tensor, ends: int, end: int) -> range:
    """Return where in a prompt the answer stands whose end token is the `ends`-th one; media are as long there as they
    are. Raises: EngineError: the processor has changed the text around the media.
    """
    stop = int((prompt.input_ids == end).nonzero()[ends - 1]) + 1
    found = range(stop - len(answer), stop)
    if prompt.input_ids[found.start : stop].tolist() != answer.tolist():
        raise EngineError(
            "the processor writes other tokens around media than its chat template; see `onethinker doctor`"
        )
    return found
