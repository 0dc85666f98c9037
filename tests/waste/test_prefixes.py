"""The keyed hash of a prompt's beginning: the same for the same 1,024 tokens, and for nothing else."""

from typing import Any
from uuid import UUID

from jobs.estimates import count_tokens
from jobs.prefixes import PREFIX_TOKENS, prefix_of

ALICE, BOB = UUID(int=1), UUID(int=2)
LONG = "The quick brown fox jumps over the lazy dog. " * 200


def prefix(*texts: str, organization: UUID = ALICE, bound: int = 10_000, **parameters: Any) -> UUID | None:
    messages = [{"role": "user", "content": text} for text in texts]
    return prefix_of(organization, messages, parameters, bound)


def test_what_begins_alike_has_the_same():
    assert prefix(LONG) == prefix(LONG + "and something else") == prefix(LONG, "another message")
    assert prefix(LONG) is not None
    assert prefix("Hello. " + LONG) != prefix(LONG)


def test_only_the_first_1024_tokens_count():
    words = [f" {number}" for number in range(3000)]
    text = "".join(words)
    # After the frame of the role, which has a few.
    late = "".join(words[:1100]) + " other" + "".join(words[1100:])
    assert count_tokens("".join(words[:1000])) > PREFIX_TOKENS
    assert prefix(text) == prefix(late)
    assert prefix(text) != prefix("x" + text)


def test_a_short_prompt_has_none():
    assert prefix("Hello") is None
    assert prefix("Hello", bound=90) is None
    # The bound has a margin: a prompt may have fewer tokens.
    assert prefix("word " * 1000, bound=1100) is None


def test_two_organizations_cannot_be_compared():
    assert prefix(LONG) != prefix(LONG, organization=BOB)


def test_the_key_is_the_deployments(settings):
    before = prefix(LONG)
    settings.SECRET_KEY = "another key of another deployment"
    assert prefix(LONG) != before


def test_roles_and_tools_are_part_of_it():
    system = [{"role": "system", "content": LONG}]
    assert prefix_of(ALICE, system, {}, 10_000) != prefix(LONG)
    assert prefix(LONG, tools=[{"type": "function", "function": {"name": "f"}}]) != prefix(LONG)
    pictures = [{"type": "text", "text": LONG}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert prefix_of(ALICE, [{"role": "user", "content": pictures}], {}, 10_000) is not None


def test_a_text_without_spaces_and_half_a_character():
    assert prefix("a" * 100_000) == prefix("a" * 200_000)
    assert prefix("\ud800" + LONG) is not None


def test_a_submitted_job_has_it(client, project):
    from_one = client.post("/api/v1/jobs", {"model": "o1-preview", "prompt": LONG}, format="json")
    from_two = client.post("/api/v1/jobs", {"model": "o1-preview", "prompt": "Hello"}, format="json")
    assert (from_one.status_code, from_two.status_code) == (202, 202)
    long, short = project.jobs.order_by("pk")
    assert long.prompt_prefix == prefix(LONG, organization=project.organization_id)
    assert short.prompt_prefix is None
    assert "prefix" not in from_one.text
