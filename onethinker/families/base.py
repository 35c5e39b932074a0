"""What a family of models is asked for; a file beside this one answers for each family, and no
other file knows its names.

Dimensions: B requests, T tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from onethinker.core.errors import EngineError
from onethinker.core.request import Request
from onethinker.families.processing import encode, has_token_side, placeholder_tokens
from onethinker.media.budget import MediaBudget
from onethinker.tasks import Coordinates

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import BatchFeature

Part = Literal["language", "vision", "merger"]
"""The language model with its embeddings and head, the vision tower, and the mergers that lead from one to the
other.
"""
PARTS: tuple[Part, ...] = get_args(Part)
FRAME_TIME_TOKENS = 9
"""Tokens of `ModelFamily.frame_time` with its marks in an estimate, as of <12.5 seconds>."""
Block = Part | Literal["embeddings", "head"]
"""Parts, with the two tables of the language model apart from its layers."""


@dataclass(frozen=True)
class Widths:
    """The widths of a model that decide what it keeps of a token: of the language model, and of the vision
    tower, of whose patches several become one visual token.
    """

    layers: int
    hidden: int
    queries: int
    keys: int
    inner: int
    vision_layers: int
    vision_hidden: int
    vision_inner: int
    patches_per_token: int
    outside_layers: int
    """Weights of the language model that are in no layer: embeddings, and a head of its own."""
    recurrent_layers: int = 0
    """Those of `layers` that keep a state of a sequence in place of keys and values."""
    state: int = 0
    """Numbers of such a state in one layer, which are kept in float32."""

    @property
    def attention_layers(self) -> int:
        """Those of the layers that keep keys and values."""
        return self.layers - self.recurrent_layers

    @property
    def kept_per_token(self) -> int:
        """Numbers that the backward pass of one layer of the language model needs of each token."""
        return 7 * self.hidden + 10 * self.queries + 2 * self.keys + 4 * self.inner

    @property
    def kept_per_patch(self) -> int:
        """Numbers that the backward pass of one block of the vision tower needs of each patch."""
        return 11 * self.vision_hidden + 2 * self.vision_inner


class ModelFamily(ABC):
    """All that the package knows of one family. A new one is a subclass in a file of its own and a row in
    `families.registry`.
    """

    name: str
    """What a reader calls it."""
    model_types: tuple[str, ...]
    """What config.json says in "model_type"."""
    processors: tuple[str, ...]
    """The classes of transformers that make its inputs."""
    pixel_inputs: tuple[str, ...]
    """The model's inputs that hold pixels."""
    token_side_px: int
    """Side of the square of pixels that becomes one visual token: its patch times its merge."""
    frames_per_token: int
    """Frames of a video that share their visual tokens."""
    frame_time: str = "<{} seconds>"
    """The longest that the processor writes with frames that share their tokens, "{}" for seconds; "" for nothing."""
    frame_marks: int = 2
    """Tokens that it writes around such frames."""
    image_marks: int = 0
    """Tokens that it writes around a picture, beside those of the chat template."""
    video_words: str = ""
    """The longest that it writes around a video, beside the times of its frames."""
    takes_token_types: bool = True
    """Whether the model's own generation is told which tokens are visual."""
    coordinates: Coordinates = "thousandths"
    """What its models count places in before any training of ours: thousandths of the frame, or pixels of the resized
    one. `onethinker.json` of a folder, a recipe and a flag may say otherwise."""
    packed_modules: tuple[str, ...]
    """The modules of transformers whose layers a test has shown to be exact in a packed row; () refuses training."""
    packed_layer_types: tuple[str, ...] = ("full_attention",)
    """The same of the words in the config's `layer_types`; a family with recurrent layers names theirs here once its
    `read_packed_rows` keeps prompts and answers apart in them.
    """

    packed_parts: tuple[str, ...] = ()
    """Endings of the names of torch's own modules that are exact only because the proven layer around them calls them
    run by run."""
    blocks: ClassVar[tuple[tuple[str, Block], ...]]
    """How the names of parameters begin, for each block; all others belong to the layers of the language model."""
    served_by_vllm: bool = False
    """Whether vLLM has its classes."""
    differs: str = ""
    """What a user of another family must know, in a sentence or two."""

    @property
    def is_trained(self) -> bool:
        """Whether its packed rows are proven to be exact, so that sft, dpo and rl take it."""
        return bool(self.packed_modules)

    def encode(self, processor: Any, texts: Sequence[str], requests: Sequence[Request]) -> "BatchFeature":
        """Return the model's inputs for requests whose prompts have these texts. Raises: EngineError."""
        return encode(
            processor, texts, requests, token_side_px=self.token_side_px, frames_per_token=self.frames_per_token
        )

    def fit_budget(self, budget: MediaBudget, source: Any = None) -> MediaBudget:
        """Return a budget that counts in this family's visual tokens; `source` is the processor or the config of a
        model, for families whose sizes are not the same in all models.
        """
        return budget.model_copy(
            update={"token_side_px": self.token_side_px, "frames_per_token": self.frames_per_token}
        )

    @abstractmethod
    def split_media(self, batch: Mapping[str, "Tensor"], requests: Sequence[Request]) -> "list[dict[str, Tensor]]":
        """Return for each request of an encoded batch the model's inputs of its media; {} where it shows nothing."""

    @abstractmethod
    def positions(self, model: Any, batch: Mapping[str, "Tensor"]) -> "Tensor":
        """Return the positions of every token of an encoded batch, (axes, B, T); an answer goes on after the largest of
        its prompt, on all axes.
        """

    def check_processor(self, config: Any, processor: Any) -> None:
        """Do nothing where a processor makes the inputs of a model of this config. Raises: EngineError: of another."""
        kinds = {kind.__name__ for kind in type(processor).__mro__}
        if not kinds & set(self.processors):
            found = f"is {type(processor).__name__}, not {' or '.join(self.processors)}"
        elif set(placeholder_tokens(processor).values()) != set(self.media_tokens(config)):
            found = f"writes {placeholder_tokens(processor)} for media, the model reads {self.media_tokens(config)}"
        elif not self.cuts_alike(processor, config):
            found = f"cuts pictures into tokens of another side than the model's {self.side_of(config)} pixels"
        else:
            return
        raise EngineError(
            f"the processor belongs to another model: it {found}; copy the processor files of this {self.name}"
        )

    def cuts_alike(self, processor: Any, config: Any) -> bool:
        """Return whether a processor makes visual tokens of the size that a model of this config reads."""
        return has_token_side(processor.image_processor, self.side_of(config))

    @abstractmethod
    def side_of(self, config: Any) -> int:
        """Return the side of the square of pixels that becomes one visual token of a model of this config."""

    @abstractmethod
    def set_budget(self, processor: Any, budget: MediaBudget) -> None:
        """Let a processor size media by itself as the budget does, for programs that do not size them first."""

    def part_of(self, name: str) -> Part:
        """Return the part that a parameter or module belongs to, by its name; embeddings and head belong to the
        language model.
        """
        block = self.block_of(name)
        return "language" if block == "embeddings" or block == "head" else block

    def block_of(self, name: str) -> Block:
        """Return the block that a parameter belongs to, by its name; adapters belong to the block they are on."""
        return next((block for beginning, block in self.blocks if name.startswith(beginning)), "language")

    def multiplied(self, model: Any) -> dict[Part, float]:
        """Return how many weights of each part a token (a patch, in the vision tower) is multiplied with: without the
        table of embeddings where the head is another one.
        """
        weights = list(model.named_parameters())
        has_head = any(self.block_of(name) == "head" for name, _ in weights)
        found: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
        for name, weight in weights:
            if self.block_of(name) != "embeddings" or not has_head:
                found[self.part_of(name)] += weight.numel() * self.used_share(name, model.config)
        return found

    def used_share(self, name: str, config: Any) -> float:
        """Return the share of a weight that a token is multiplied with: less than 1 in experts."""
        return 1.0

    @abstractmethod
    def media_tokens(self, config: Any) -> tuple[int, ...]:
        """Return the tokens that stand for pictures and frames, which no answer may hold."""

    @abstractmethod
    def layers(self, model: Any) -> "Sequence[nn.Module]":
        """Return the layers of the language model, each of which is sharded by itself."""

    def routers(self, model: Any) -> "list[nn.Module]":
        """Return what sends tokens to experts, layer after layer, [] without experts: each says logits of all experts,
        and weights and indices of the chosen ones, whose weights are their softmax, which sums up to 1.
        """
        return []

    def expert_weights(self, model: Any) -> list[str]:
        """Return the names of the parameters that hold all experts of a layer, which are no layers of their own."""
        return [name for name, weight in model.named_parameters() if ".experts." in name and weight.ndim == 3]

    @abstractmethod
    def widths(self, config: Any) -> Widths:
        """Return the widths that a config names."""

    @abstractmethod
    def read_packed_rows(self, model: Any, *, attention: str) -> None:
        """Let a model read packed rows: its language model attends by what transformers knows under this name. The
        weights are untouched.
        """


def head_of(model: Any) -> "nn.Linear | None":
    """Return the layer that gives the logits, of a model of transformers or of what wraps one; None where there is
    none.
    """
    networks = (module for module in model.modules() if hasattr(module, "get_output_embeddings"))
    network = next(networks, None)
    head: nn.Linear | None = network.get_output_embeddings() if network is not None else None
    return head


def gates_of(layers: "Sequence[nn.Module]") -> "list[nn.Module]":
    """Return the routers of those of some layers that have experts."""
    blocks: list[Any] = [layer.mlp for layer in layers]
    return [block.gate for block in blocks if hasattr(block, "gate")]
