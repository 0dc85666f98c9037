"""What the provider says of a failed call, without the prompt and without keys."""

import json

import pytest

from jobs.echoes import GONE, LONGEST, echo_of

KEY = "sk-proj-abcdefghijklmnop0123456789"
PROMPT = 'Patient Jane "Roe" Doe, born 1970-01-01,\nhas a rare condition: what is it?'
REQUEST = {"model": "o1", "messages": [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]}


def clean(said: str, prompt: str = PROMPT) -> str:
    return echo_of(KEY, {"messages": [{"role": "user", "content": prompt}]}).out_of(said)


def test_what_repeats_nothing_stays_as_it_was():
    said = "Rate limit reached for o1 in organization org-x on tokens per min (TPM): Limit 30000. Try again in 6ms."
    assert clean(said) == said


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (f"Cannot answer: {PROMPT}", f"Cannot answer: {GONE}"),
        (f"{PROMPT} and {PROMPT}", f"{GONE} and {GONE}"),
        (f"In {json.dumps({'text': PROMPT})}.", f'In {{"text": "{GONE}"}}.'),
        (f"It begins with '{PROMPT[:30]}'...", f"It begins with '{GONE}'..."),
        (f"...{PROMPT[20:]}!", f"...{GONE}!"),
        (f"Incorrect API key provided: {KEY}.", f"Incorrect API key provided: {GONE}."),
        ("Another's: sk-abcdefgh1234, bk_live_xyz-12345", f"Another's: sk-{GONE}, bk_live_{GONE}"),
    ],
)
def test_prompts_and_keys_are_taken_out(said, left):
    assert clean(said) == left


def test_parts_of_every_kind_of_request_are_found():
    for request in (REQUEST, {"input": PROMPT}, {"instructions": PROMPT}, {"input": [{"content": PROMPT}]}):
        assert echo_of(KEY, request).out_of(f"No: {PROMPT}") == f"No: {GONE}"


def test_a_short_prompt_is_taken_out_whole_and_a_word_is_left():
    assert clean("No: born in 1970", "born in 1970") == f"No: {GONE}"
    assert clean("Say hi to them", "hi") == "Say hi to them"


def test_a_name_that_is_none_is_dropped():
    echo = echo_of(KEY, REQUEST)
    assert echo.out_of_name("messages.[0].content") == "messages.[0].content"
    assert echo.out_of_name("rate_limit_exceeded") == "rate_limit_exceeded"
    assert echo.out_of_name("<b>what?</b>") == ""


def test_a_long_message_about_a_long_prompt_is_cut_and_done_soon():
    prompt = "".join(f"{number} " for number in range(100_000))
    said = clean("x" * 100_000 + prompt, prompt)
    assert said == "x" * LONGEST


def test_without_a_key_or_a_request_nothing_fails():
    assert echo_of(None, None).out_of("Say nothing.") == "Say nothing."
