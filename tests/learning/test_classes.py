import pytest

from jobs.learning.classes import KINDS, LARGEST, SIZES, class_of, kind_of, size_of
from jobs.models import Job


def said(text: object) -> list[dict]:
    return [{"role": "developer", "content": "You prove theorems."}, {"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write a Python script that prints the transpose of a matrix.", "code"),
        ("```\nx = 1\n```\nWhat is wrong here?", "code"),
        ("Prove that there are infinitely many primes.", "mathematics"),
        ("Extract the names of all entities as JSON.", "extraction"),
        ("Summarize this in three sentences.", "summary"),
        ("Translate this letter into Portuguese.", "translation"),
        ("Draft a poem about the sea.", "writing"),
        ("Why is the sky blue?", "question"),
        ("Mexico City", "other"),
        ("", "other"),
        ("\x00\ud800 ¿?", "question"),
    ],
)
def test_the_kind_of_work_is_guessed_from_what_is_asked(text, kind):
    assert kind_of(text) == kind
    assert class_of(said(text), 10) == f"{kind}-s"


def test_what_is_pasted_in_the_middle_of_a_long_prompt_says_nothing():
    dull = "lorem ipsum " * 60
    assert kind_of(f"Summarize this.\n{dull}{'python bug traceback import ' * 500}{dull}") == "summary"


@pytest.mark.parametrize(("tokens", "size"), [(0, "s"), (512, "s"), (513, "m"), (2048, "m"), (16_385, "xl")])
def test_sizes(tokens, size):
    assert size_of(tokens) == size


@pytest.mark.parametrize(
    ("messages", "kind"),
    [
        ([], "other"),
        ([{"role": "user"}], "other"),
        (said([{"type": "text", "text": "Translate this."}, {"type": "image_url", "image_url": {}}]), "translation"),
        (said([{"type": "text", "text": None}, 7]), "other"),
        ([{"role": "user", "content": "Translate this."}, {"role": "assistant", "content": "code"}], "translation"),
        ([{"role": "developer", "content": "Summarize."}], "summary"),
    ],
)
def test_whatever_the_shape_of_the_messages(messages, kind):
    assert class_of(messages, 10) == f"{kind}-s"


def test_every_class_has_room_in_its_column():
    longest = max(len(f"{kind}-{size}") for kind in KINDS for size in (*(size for size, _ in SIZES), LARGEST))
    assert longest <= Job._meta.get_field("prompt_class").max_length
