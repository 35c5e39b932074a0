"""A tokenizer whose tokens are letters, for managers that decode responses."""

from collections.abc import Iterable


class Letters:
    """Token ids are the numbers of characters."""

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        return "".join(chr(int(each)) for each in ids)
