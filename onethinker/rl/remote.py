"""A sampler that asks servers of vLLM: each prompt once for its G answers, the server with fewest requests first, under
the weights of this step.

Dimensions: G answers per prompt, R tokens of an answer.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, as_completed, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from onethinker.core.errors import EngineError
from onethinker.core.request import SamplingParams
from onethinker.families.registry import family_of
from onethinker.inference.chat import chat_request
from onethinker.inference.endpoint import GoneError, RubbishError
from onethinker.inference.fleet import FleetEngine
from onethinker.inference.least_loaded import TRIES, connect_any
from onethinker.inference.openai import RemoteEngine, count, finite
from onethinker.rl.sampler import Rollout, RolloutRequest
from onethinker.rl.servers import StartedServers
from onethinker.rl.weights import ServedWeights
from onethinker.training.config import RlRecipe
from onethinker.training.session import TrainingSession

_log = logging.getLogger(__name__)
TELLINGS = 3
"""A server whose weights are others so often after it has answered a prompt is used by somebody else."""


@dataclass(frozen=True)
class Answer:
    """One answer of a server: token ids, their log-probabilities, and whether it was cut."""

    ids: tuple[int, ...]
    logps: tuple[float, ...]
    truncated: bool


@dataclass(frozen=True)
class RemoteSampler:
    """Samples by servers that are sent the weights of each step."""

    session: TrainingSession
    fleet: FleetEngine
    weights: ServedWeights
    opened: ExitStack
    """Closes what it holds."""

    @classmethod
    def open(cls, session: TrainingSession) -> "RemoteSampler":
        """Return a sampler whose servers have the weights that the session starts with.

        Raises: ConfigError: adapters that vLLM cannot load, or servers that cannot be started. EngineError: no server
        answers, or one refuses weights.
        """
        recipe = session.recipe
        assert isinstance(recipe, RlRecipe)
        settings = recipe.rollout
        addresses, patience_s = settings.endpoints, settings.patience_s
        check_alive: Callable[[], None] | None = None
        opened = ExitStack()
        try:
            if settings.vllm is not None:
                servers = StartedServers.start(session, settings.vllm, patience_s=patience_s)
                opened.callback(servers.close)
                addresses = servers.addresses
                check_alive = servers.check_alive
            fleet = connect(addresses, patience_s=patience_s, session=session, check_alive=check_alive)
            opened.callback(fleet.close)
            weights = ServedWeights.open(session, folder=settings.weights_folder, timeout_s=patience_s)
            opened.callback(weights.remove)
            sampler = cls(session, fleet, weights, opened)
            sampler.load_weights(session.progress.step)
        except BaseException:
            opened.close()
            raise
        return sampler

    def begin(self, requests: Sequence[RolloutRequest], params: SamplingParams, group_size: int) -> "RemoteSampling":
        """Ask servers, and return at once; where all are gone, what is asked waits for one."""
        model = self.session.model
        forbidden = family_of(model).media_tokens(model.config)
        futures = [self.fleet.submit_work(partial(self._ask, each, params, group_size, forbidden)) for each in requests]
        return RemoteSampling(futures, self.session.collectives.device, self.weights.step)

    def load_weights(self, version: int) -> None:
        """Write the weights, and let every server that answers have them."""
        addresses = [server.address for server in self.fleet.servers]
        self.weights.write(version, addresses)
        if self.session.collectives.is_main:
            self.fleet.submit_coroutine(self.weights.tell_all(addresses)).result()
        self.session.collectives.wait()

    def close(self) -> None:
        """Remove the written weights, drop what is in flight and the connections, and end servers of its own."""
        self.opened.close()

    async def _ask(
        self,
        asked: RolloutRequest,
        params: SamplingParams,
        group_size: int,
        forbidden: Sequence[int],
        server: RemoteEngine,
    ) -> list[Answer]:
        """Return the answers of one server, which had the weights of this step before and after.

        Raises: GoneError, EngineError.
        """
        make_body = partial(
            group_request,
            asked,
            params,
            group_size=group_size,
            forbidden=forbidden,
            model=self.weights.route.model_name(server.model, self.weights.version),
            frames_per_token=server.budget.frames_per_token,
        )
        read = partial(read_answers, asked=asked, group_size=group_size, where=server.address)
        try:
            for _ in range(TELLINGS):
                await self.weights.tell(server.address)
                try:
                    answers = await asyncio.wrap_future(server.submit_body(make_body, read))
                except GoneError:
                    raise
                except EngineError:
                    if await self.weights.has(server.address):
                        raise
                else:
                    if await self.weights.has(server.address):
                        return answers
                self.weights.forget(server.address)
        except GoneError:
            self.weights.forget(server.address)
            raise
        raise EngineError(
            f"{server.address}: its weights were replaced {TELLINGS} times while it answered; check that no other run"
            " uses this server"
        )


@dataclass(frozen=True)
class RemoteSampling:
    """Prompts that servers are answering, with the weights after `version` steps."""

    futures: Sequence[Future[list[Answer]]]
    device: torch.device
    version: int

    def wait(self) -> None:
        """Return when nothing is in flight any more; after one failure the others are dropped."""
        try:
            wait(self.futures, return_when=FIRST_EXCEPTION)
        finally:
            for future in self.futures:
                future.cancel()

    def rollouts(self) -> Iterator[tuple[int, list[Rollout]]]:
        """Yield the index of each request with its completions, as they come. Raises: EngineError."""
        indices = {future: index for index, future in enumerate(self.futures)}
        try:
            for future in as_completed(self.futures):
                # What was dropped after a failure, which comes too, says nothing.
                if not future.cancelled():
                    yield indices[future], [self._rollout(answer) for answer in future.result()]
        finally:
            for future in self.futures:
                future.cancel()

    def _rollout(self, answer: Answer) -> Rollout:
        ids, logps = (torch.tensor(values, device=self.device) for values in (answer.ids, answer.logps))
        return Rollout(ids, logps, answer.truncated, version=self.version)


def connect(
    addresses: Iterable[str],
    *,
    patience_s: float,
    session: TrainingSession,
    check_alive: Callable[[], None] | None = None,
) -> FleetEngine:
    """Return the servers as one; those that do not answer yet are taken to serve the model of the others, and where
    none does they are waited for.

    Raises: EngineError: none answers for `patience_s`, or they serve different models.
    """
    template, budget = session.data.prompt_template, session.data.budget
    addresses = [address.rstrip("/") for address in addresses]
    models: dict[str, str] = {}
    for address, engine in connect_any(addresses, RemoteEngine.connect, patience_s=patience_s).items():
        with engine:
            models[address] = engine.model
    common = next(iter(models.values()))
    servers = [
        RemoteEngine(address, models.get(address, common), template, budget, max_tries=TRIES, timeout_s=patience_s)
        for address in addresses
    ]
    return FleetEngine(servers, patience_s, template, budget, check_alive=check_alive)


def group_request(
    asked: RolloutRequest,
    params: SamplingParams,
    *,
    group_size: int,
    forbidden: Sequence[int],
    model: str,
    frames_per_token: int,
) -> dict[str, Any]:
    """Return the body that asks for the G answers to a prompt, with their tokens and log-probabilities.

    vLLM draws answer i with the request's seed plus i: seeds of prompts are G apart, so that no two answers share one.
    """
    body = chat_request(asked.request, params, model=model, frames_per_token=frames_per_token)
    return body | {
        "n": group_size,
        "seed": asked.request.seed_or(params.seed) * group_size % 2**62,
        "logprobs": True,
        "return_token_ids": True,
        "logit_bias": {str(token): -100 for token in forbidden},
    }


def read_answers(reply: dict[str, Any], *, asked: RolloutRequest, group_size: int, where: str) -> list[Answer]:
    """Return the G answers of a reply, after a look at the prompt that they were given to.

    Raises: RubbishError: something is missing. EngineError: the server read another prompt than the model in training.
    """
    try:
        prompt = [count(token) for token in reply["prompt_token_ids"]]
        answers = [_answer(choice) for choice in sorted(reply["choices"], key=lambda choice: int(choice["index"]))]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise RubbishError(
            f"expected answers with prompt_token_ids, token_ids and logprobs, got {str(reply)[:300]}"
        ) from error
    check_prompt(prompt, asked.prompt.input_ids, where=where)
    if len(answers) != group_size:
        raise RubbishError(f"expected {group_size} answers, got {len(answers)}")
    return answers


def _answer(choice: dict[str, Any]) -> Answer:
    """Return one choice of a reply. Raises: KeyError, TypeError, ValueError."""
    ids = tuple(count(token) for token in choice["token_ids"])
    logps = tuple(finite(token["logprob"]) for token in choice["logprobs"]["content"])
    if not ids or len(ids) != len(logps) or choice["finish_reason"] not in ("stop", "length"):
        raise ValueError(choice["finish_reason"])
    return Answer(ids, logps, choice["finish_reason"] == "length")


def check_prompt(theirs: Sequence[int], ours: Tensor, *, where: str) -> None:
    """Raise EngineError where a server read other prompt tokens than the model in training."""
    own = ours.tolist()
    if len(theirs) != len(own):
        raise EngineError(
            f"{where}: the server read {len(theirs)} prompt tokens, but the model in training reads {len(own)}: serve"
            " the folder of the recipe's model, with its chat template and processor"
        )
    different = [index for index, (one, other) in enumerate(zip(theirs, own, strict=True)) if one != other]
    if different:
        first = different[0]
        raise EngineError(
            f"{where}: prompt token {first} is {theirs[first]} at the server and {own[first]} for the model in training"
            f" ({len(different)} of {len(own)} differ): serve the folder of the recipe's model, with its chat template"
            " and processor"
        )
