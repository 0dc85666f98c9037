"""Stored completions: how an answer that was lost on the way is found again."""

import uuid

import openai
import pytest
from openai import OpenAI

from config.simulator.running import RunningSimulator
from tests.simulator.clients import ask, connect


def test_a_lost_answer_is_found_by_its_metadata(client: OpenAI, simulator: RunningSimulator) -> None:
    attempt = str(uuid.uuid4())
    simulator.fault("cut_after_billing")
    with pytest.raises(openai.APIConnectionError):
        ask(client, "o1-preview", store=True, metadata={"attempt_id": attempt, "job": "7"})

    found = list(client.chat.completions.list(metadata={"attempt_id": attempt}))

    assert len(found) == 1
    assert found[0].metadata == {"attempt_id": attempt, "job": "7"}
    assert found[0].usage is not None
    assert simulator.bill(attempt_id=attempt)["completion_tokens"] == found[0].usage.completion_tokens
    assert client.chat.completions.retrieve(found[0].id) == found[0]


def test_what_was_not_stored_is_not_found(client: OpenAI) -> None:
    completion = ask(client, "o1-preview")

    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(completion.id)
    assert completion.id not in [stored.id for stored in client.chat.completions.list(limit=100)]


def test_lists_are_paged_in_either_order_and_filtered_by_model(client: OpenAI) -> None:
    tag = {"batch": str(uuid.uuid4())}
    ids = [ask(client, model, store=True, metadata=tag).id for model in ("o1", "o1-mini", "o1", "o1-mini", "o1")]

    page = client.chat.completions.list(metadata=tag, limit=2)
    assert [stored.id for stored in page.data] == ids[:2]
    assert page.has_more
    assert [stored.id for stored in page] == ids  # the client follows the cursor
    assert [stored.id for stored in client.chat.completions.list(metadata=tag, order="desc", limit=2)] == ids[::-1]
    by_alias = client.chat.completions.list(metadata=tag, model="o1")
    by_snapshot = client.chat.completions.list(metadata=tag, model="o1-2024-12-17")
    assert [stored.id for stored in by_alias] == [stored.id for stored in by_snapshot] == ids[::2]
    assert client.chat.completions.list(metadata=tag, after=ids[-1]).data == []
    assert client.chat.completions.list(metadata={"batch": "other"}).data == []


def test_other_projects_do_not_see_them(client: OpenAI, simulator: RunningSimulator) -> None:
    tag = {"secret": str(uuid.uuid4())}
    completion = ask(client, store=True, metadata=tag)

    with connect(simulator, project="proj_other") as stranger:
        assert stranger.chat.completions.list(metadata=tag).data == []
        with pytest.raises(openai.NotFoundError):
            stranger.chat.completions.retrieve(completion.id)


@pytest.mark.parametrize("options", [{"limit": "0"}, {"limit": "ten"}, {"order": "random"}])
def test_a_list_that_cannot_be_made_is_refused(client: OpenAI, options: dict[str, str]) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.list(extra_query=options)
