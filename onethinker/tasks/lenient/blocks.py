"""The answer in a response whose tags are missing, misspelt or never closed."""

import re

from onethinker.core.errors import AnswerError
from onethinker.core.grammar import find_answer
from onethinker.tasks.base import Reader

_TAG = re.compile(
    r"[<◁][ \t]*(/?)[ \t]*(?:(?P<think>think(?:ing)?|thoughts?|reasoning)|answers?|final_answer|solution)[ \t]*[>▷]",
    re.IGNORECASE,
)
_GLM = re.compile(r"<\|(begin|end)_of_box\|>")
_SPECIAL = re.compile(r"<\|(?:im_end|endoftext|eot_id|end|eos)\|>|</s>")
CUT = "the response was cut off at the token limit"


def find_blocks(response: str, reader: Reader, repairs: list[str]) -> tuple[str, str]:
    """Return the thinking and the answer of a response, however it marks them. Raises: AnswerError: no answer."""
    text = _SPECIAL.sub("", response)
    if reader.truncated:
        repairs.append(CUT)
    spelled = _TAG.sub(lambda tag: f"<{tag[1]}{'think' if tag['think'] else 'answer'}>", text)
    spelled = _GLM.sub(lambda mark: "<answer>" if mark[1] == "begin" else "</answer>", spelled)
    if spelled != text:
        repairs.append("tags spelled in another way")
    before, closed, after = spelled.rpartition("</think>")
    thinking = before.replace("<think>", "").strip()
    try:
        if inside := find_answer(spelled):
            return thinking, inside
    except AnswerError:
        pass
    return thinking, _without_block(after, bool(closed), reader, repairs)


def _without_block(after: str, has_thinking: bool, reader: Reader, repairs: list[str]) -> str:
    """Return the answer in what follows the thinking, where it has no whole answer block with something in it."""
    _, opened, inside = after.rpartition("<answer>")
    if opened and "</answer>" not in inside and inside.strip():
        repairs.append("the answer block is never closed")
        return inside.strip()
    if not has_thinking and "<think>" in after:
        where = "inside the think block"
        reason = f"{CUT}, {where}" if reader.truncated else f"the response ends {where}, which is never closed"
        raise AnswerError(reason)
    rest = after.replace("<answer>", "").replace("</answer>", "").strip()
    if not rest:
        end = f", {CUT}" if reader.truncated else ""
        raise AnswerError(f"nothing follows the thinking{end}" if has_thinking else f"the response is empty{end}")
    repairs.append(
        "no answer block: all that follows the thinking was read" if has_thinking else "no tags: all was read"
    )
    return rest
