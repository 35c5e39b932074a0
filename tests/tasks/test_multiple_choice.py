import pytest

from onethinker.core.errors import AnswerError
from onethinker.tasks import grade_response
from onethinker.tasks.multiple_choice import MultipleChoice

task = MultipleChoice()
OPTIONS = ("A. cat", "B. A dog", "C. 3.5 m")


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "a",
        " A ",
        "(A)",
        "[A]",
        "A.",
        "A)",
        "A:",
        "**A**",
        "*A.*",
        "`A`",
        "A. cat",
        "(A) cat",
        "A) cat",
        "**A. cat**",
        "Option A",
        "option (A)",
        "Answer: A",
        "The answer is A.",
        "The correct option is A",
        r"\text{A}",
        r"\boxed{A}",
        r"$\text{A}$",
        "$A$",
    ],
)
def test_a_letter_counts_however_it_is_dressed(text):
    assert task.parse(text) == "A"


LABELLED = ("A. cat", "B. dog", "C. 3.5 m", "D. a bird or a fish")
DRESSED = [
    "B\ndog",
    "B\n\nExplanation: A is wrong because it is a cat",
    "Final answer: B",
    "The right answer is B",
    "B (dog)",
    '"B"',
    "B,",
    "B.dog",
    "（B）",
    "Ｂ",
    "B。",
    "答案是B",
    "答案：B",
    "正确答案是 B。",
    "选B",
    "故选B",
    "选项B",
    "答えはB",
    "Bです",
    "正解：B",
    "**Answer:** B",
    "**Answer:**\nB",
    "Answer:\n\nB",
    "B. dog",
    "(B) dog",
    "(B)dog",
    "B) dog",
    "B: dog",
    "[B]",
    "【B】",
    "「B」",
    r"\boxed{B}",
    r"\boxed{\text{B}}",
    r"$\mathbf{B}$",
    r"\(B\)",
    "Option B",
    "option (B)",
    "I choose B",
    "I would choose option B",
    "It is B",
    "It's B.",
    "So the answer is B",
    "Therefore, the correct answer is (B).",
    "B is correct",
    "B is the right answer",
    "B because it barks",
    "B, since it barks",
    "B. It barks.",
    "b",
    "b.",
    "b)",
    "Ⓑ",
    "B\nB",
    "B. dog\nB. dog",
    "B\n\nThe dog barks; A dog it is.",
    "(B",
    "<b>B</b>",
    "<strong>B</strong>. dog",
    "B<br>",
    "_B_",
    "```\nB\n```",
    "## Answer\nB",
    "- B",
    "> **B**",
    "ⓑ",
    "𝐁",
    "🅱",
    "Therefore, B",
    "Hence B.",
    "B is the answer",
    "The letter is B",
    "I think it's B",
    "本题选B",
    "B是正确的",
    "B正确",
    "Bが正解です",
    "選択肢B",
    "정답: B",
    "정답은 B입니다",
    "الإجابة: B",
    "الجواب هو B",
    "Ответ: B",
    "Réponse : B",
    "La respuesta es B",
    "Die Antwort ist B",
]
WITH_ITS_TEXT = [
    "B dog",
    "dog",
    "Dog.",
    "B - dog",
    "B – dog",
    "The answer is dog",
    "dog (B)",
    "dog, B",
    "B -> dog",
    "B | dog",
]
CONTRADICTORY = ["B. cat", "B (cat)", "B\ncat", "cat (B)", "cat, B"]
NO_LETTER = [
    "not B",
    "A or B",
    "B or C?",
    "neither",
    "A and B",
    "A, B",
    "AB",
    "A/B",
    "A & B",
    "A B",
    "A\nB",
    "A\nB\nC\nD",
    "A. cat\nB. dog",
    "A. cat B. dog C. 3.5 m D. bird",
    "A) B) C) D)",
    "(A)(B)(C)(D)",
    "(A) (B)",
    "A. B. C. D.",
    "A; B",
    "B cat",
    "The answer is not B",
    "不选B",
    "答案不是B",
    "选A或B",
    "A和B",
    "B is wrong",
    "B is not correct",
    "B?",
    "B or not",
    "A\nor B",
    "A\n\nor B or C or D",
    "B\nNo, C",
    "B. or C",
    "B. C",
    "B. Or C.",
    "A: B",
    "Option A or option B",
    "all of them",
    "none",
    "B is correct, C is correct",
    "B is correct\nC is correct",
    "A B C D",
    "ABCD",
    "1",
    "А",
    "B.\nC.",
    "**A** **B**",
    "A dog",
    "Answer: A or B",
    "Answer: A, B, C, D",
    "",
    "()",
    "option",
    "**",
    "B ... C",
    "B -> C",
    "dog cat",
    "cat\ndog",
    "cat, dog",
    "A. cat\nor B. dog",
    "Bは正解ではない",
    "B不正确",
    "B不是正确答案",
    "La respuesta no es B",
    "정답은 B가 아니다",
    "الجواب ليس B",
    "I think A or B",
    "- A\n- B",
    "<b>A</b> <b>B</b>",
]


@pytest.mark.parametrize("text", DRESSED, ids=repr)
def test_a_letter_counts_in_a_sentence_in_other_scripts_and_before_an_explanation(text):
    assert task.parse(text) == task.parse(text, LABELLED) == "B"


@pytest.mark.parametrize("text", WITH_ITS_TEXT, ids=repr)
def test_the_text_of_an_option_counts_alone_or_behind_its_letter(text):
    assert task.parse(text, LABELLED) == task.parse(text, ("cat", "dog", "3.5 m")) == "B"
    with pytest.raises(AnswerError, match="letter"):
        task.parse(text)


@pytest.mark.parametrize("text", CONTRADICTORY, ids=repr)
def test_a_letter_with_the_text_of_another_option_is_refused(text):
    with pytest.raises(AnswerError, match="letter"):
        task.parse(text, LABELLED)


@pytest.mark.parametrize("options", [(), LABELLED], ids=["without options", "with options"])
@pytest.mark.parametrize("text", NO_LETTER, ids=repr)
def test_several_letters_none_and_a_denial_are_refused(text, options):
    with pytest.raises(AnswerError, match="letter"):
        task.parse(text, options)


@pytest.mark.parametrize(
    "joint",
    ["", " ", ", ", "; ", "/", "\n", "\n\n", " or ", " and ", ". ", ") ", "\nor ", " | ", "、", "或", "\nOption "],
    ids=repr,
)
@pytest.mark.parametrize("order", ["ABCD", "DCBA", "BACD", "AB", "CD"])
@pytest.mark.parametrize("lead", ["", "The answer is ", "答案是"], ids=["bare", "led", "led in Chinese"])
def test_an_answer_that_lists_letters_never_scores(joint, order, lead):
    for options in ((), LABELLED):
        with pytest.raises(AnswerError):
            task.parse(lead + joint.join(order), options)


@pytest.mark.parametrize("joint", [" ", "\n", ", ", "; ", " or ", "\n\n"], ids=repr)
def test_an_answer_that_lists_all_options_never_scores(joint):
    for texts in (LABELLED, [text[3:] for text in LABELLED], [f"({text[0]}) {text[3:]}" for text in LABELLED]):
        with pytest.raises(AnswerError):
            task.parse(joint.join(texts), LABELLED)


def test_a_text_that_two_options_have_names_neither():
    with pytest.raises(AnswerError, match="letter"):
        task.parse("dog", ("A. dog", "B. Dog.", "C. cat"))
    assert task.parse("cat", ("A. dog", "B. Dog.", "C. cat")) == "C"
    assert task.parse("B", ("A. dog", "B. Dog.", "C. cat")) == "B"


@pytest.mark.parametrize(
    "options",
    [("A.cat", "B.dog"), ("（A）cat", "（B）dog"), ("A、cat", "B、dog"), ("(a) cat", "(b) dog"), ("cat", "dog")],
    ids=str,
)
def test_labels_of_options_are_read_in_every_form(options):
    assert task.parse("dog", options) == task.parse("B dog", options) == "B"


def test_an_option_that_looks_like_a_label_is_a_text():
    assert task.parse("U.S.", ("U.K.", "U.S.")) == "B"
    assert task.parse("None of the above", ("A. cat", "B. None of the above")) == "B"
    assert task.parse("A or B", ("A. x", "B. y", "C. A or B")) == "C"


@pytest.mark.parametrize(
    ("text", "letter"),
    [("cat", "A"), ("CAT.", "A"), ("a dog", "B"), ("B. A dog", "B"), ("3.5 m", "C"), ("**A  dog**", "B")],
)
def test_the_text_of_an_option_stands_for_its_letter(text, letter):
    assert task.parse(text, OPTIONS) == letter


@pytest.mark.parametrize("options", [("A. B", "B. A", "C. C"), ("B", "A", "C")], ids=["labelled", "bare"])
def test_a_letter_alone_is_one_whatever_the_texts_of_options_are(options):
    assert [task.parse(text, options) for text in ("A", "(A)", "The answer is A", "A. B", "A (B)", "C")] == [
        *"AAAAA",
        "C",
    ]


def test_options_without_labels_are_lettered_in_order():
    assert task.parse("dog", ("cat", "dog")) == "B"


def test_a_letter_that_no_option_has_is_refused():
    with pytest.raises(AnswerError, match="A, B, C, got D"):
        task.parse("D", OPTIONS)


def test_only_the_right_letter_is_right():
    assert (task.score("A", "A", "paper").accuracy, task.score("B", "A", "release").accuracy, task.metrics) == (
        1,
        0,
        ("accuracy",),
    )


@pytest.mark.parametrize("truth", ["A, C", "C, A", "AC", "A and C", "(A), (C)", "A;C", "A、C", "A/C", "a, c"])
@pytest.mark.parametrize(
    ("answer", "accuracy"),
    [
        ("A, C", 1),
        ("C and A", 1),
        ("AC", 1),
        ("The answer is A, C.", 1),
        ("**A** and **C**", 1),
        ("A和C", 1),
        ("答案是AC", 1),
        ("A", 0),
        ("A, B", 0),
        ("A, B, C", 0),
        ("A or C", 0),
        ("not A, C", 0),
        ("A, D", 0),
    ],
)
def test_of_several_right_letters_all_are_wanted_and_no_other(truth, answer, accuracy):
    response = f"<think>x</think><answer>{answer}</answer>"
    assert grade_response(response, truth, task=task, options=LABELLED[:3]).accuracy == accuracy


def test_a_list_of_letters_is_no_answer_where_one_is_right():
    grade = grade_response("<think>x</think><answer>A, C</answer>", "A", task=task, options=LABELLED)
    assert grade.accuracy == 0
    assert "answer" in grade.problems
