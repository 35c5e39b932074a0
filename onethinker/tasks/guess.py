"""Which task a question is for, where nobody says: guessed from its words and its medium, by the rules of one table."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from onethinker.tasks.guess_rules import FALLBACK, RULES

_POLITE = re.compile(
    r"^(?:[\s,:-]+|(?:please|pls|plz|kindly|hi|hello|hey|ok|okay|so|now|well|and|then|just|also|thanks|thank you|first"
    r"|quickly|um|uh|yo|dear \w+|good (?:morning|evening|day)|excuse me|sorry"
    r"|(?:can|could|would|will) (?:you|u|we|i)|(?:can|could|would) you mind|are you able to|be so kind (?:as )?to"
    r"|tell me|tell us"
    r"|let me know|let's|lets|help me|help us|try to|go ahead and|do you know|do you think you (?:can|could)"
    r"|(?:i|we)(?:'d| would)? (?:want|like|love|need|wish|have)(?: (?:you|u))? to|(?:i|we)(?:'d| would)? (?:want|like"
    r"|need)"
    r"|i (?:wonder|wanna|gotta)|i(?:'m| am) (?:wondering|curious|trying to|asking)|know|ask(?: you)?|any idea|is it"
    r" possible to"
    r"|(?:in|on|from|within|given|looking at|look at|watch|watching|according to|based on|for|during) (?:the|this"
    r"|that|my|our)"
    r" (?:\w+ )?(?:video|picture|image|photo|photograph|clip|film|movie|scene|chart|graph|table|screenshot|figure"
    r"|footage)"
    r"(?:,| and| then)?|question|q)(?![\w']))"
)
_POLITE_END = re.compile(
    r"(?:[\s,]*\b(?:please|pls|plz|thanks|thank you|for me|(?:in|of|from) (?:the|this) (?:video|picture|image|photo"
    r"|clip)))+$"
)
_LIST = re.compile(r"(?:^|\s)\(?a[).:]\s*\S.*?\s\(?b[).:]\s*\S", re.DOTALL)
"""Options that stand in the question itself: "A. red B. blue"."""


_AND = re.compile(
    r"^(?:(?:and|or|what about|how about|and what about|same for)\s+)+"
    r"(?:the|a|an|this|that|these|those|his|her|its|their|my|all)(?:\s+[\w'-]+){1,5}$"
    r"|^(?:那)?[^\x00-\x7f]{1,12}呢$|^(?:では|じゃあ?)?[^\x00-\x7f]{1,12}は$"
)
"""A follow-up that names another object, and leaves out what is asked of it: "And the dog?"."""


def guess_task(
    question: str,
    data_type: str,
    *,
    options: Sequence[str] = (),
    has_box: bool = False,
    before: str | None = None,
) -> str:
    """Return the problem type that a question about a picture or a video ("image" or "video") is most likely of.

    Options make it multiple choice, and a box in the first frame of a video tracking, whatever the words are. The words
    are English, and the plain forms in Japanese and Chinese; what no rule knows is open-ended. `before` is the problem
    type of the question that this one follows, which "And the dog?" has too.

    >>> guess_task("please find me the cat", "image"), guess_task("When does the dog jump?", "video")
    ('spatial grounding', 'temporal grounding')
    >>> guess_task("And the dog?", "image"), guess_task("And the dog?", "image", before="spatial grounding")
    ('open-ended', 'spatial grounding')
    >>> guess_task("Is it a cat?", "image"), guess_task("Is it a cat?", "image", options=["yes", "no"])
    ('open-ended', 'multiple choice')
    """
    folded = unicodedata.normalize("NFKC", question).replace("’", "'").lower()
    if options or _LIST.search(folded):
        return "multiple choice"
    if has_box and data_type == "video":
        return "tracking"
    if before not in (None, "multiple choice") and _AND.search(folded.strip(" ?？。.!,")):
        return str(before)
    guesses = (_guess_sentence(sentence, data_type) for sentence in _sentences(folded))
    return next((guess for guess in guesses if guess != FALLBACK), FALLBACK)


def _guess_sentence(sentence: str, data_type: str) -> str:
    rules = (rule for rule in RULES if data_type in rule.data_types and rule.pattern.search(sentence))
    return next((rule.problem_type for rule in rules), FALLBACK)


def _sentences(text: str) -> Iterator[str]:
    """Yield what is asked, sentence by sentence, without polite words around it."""
    for sentence in re.split(r"[.!?;:]+(?=\s|$)|[。\n]+|(?<=[^\x00-\x7f])[!?;:]+", text):
        words = re.sub(r"\b(what|where|when|who|how)s(?!\w)", r"\1's", " ".join(sentence.split()))
        while polite := _POLITE.match(words):
            words = words[polite.end() :]
        yield _POLITE_END.sub("", words)
