"""Content at rest: unreadable in the table, plain in every query, and readable through a rotation of keys."""

import importlib

import pytest
from django.apps import apps
from django.core.exceptions import FieldError
from django.db import connection

from accounts import reencryption
from accounts.encryption import newest_head, seal, seal_json, unseal, unseal_json
from accounts.models import IdempotencyRecord, ProviderCredential
from accounts.secrets import SecretUnreadable
from billing.clock import database_now

PLACE = "table.column"


@pytest.mark.parametrize(
    "value", [None, "", 0, [], {}, "ключ 鍵 🔑", {"b": 1, "a": [0.25, None]}, "\ud800", "a" * 100_000]
)
def test_a_value_comes_back_as_it_was(value):
    again = unseal_json(PLACE, seal_json(PLACE, value))
    assert again == value
    if isinstance(value, dict):
        assert list(again) == list(value)


def test_the_same_text_looks_different_every_time_and_shows_nothing():
    first, second = seal(PLACE, b"attack at dawn"), seal(PLACE, b"attack at dawn")
    assert first != second
    assert b"attack" not in first
    assert first.startswith(newest_head())


def test_a_value_moved_to_another_column_cannot_be_read():
    with pytest.raises(SecretUnreadable):
        unseal("table.other", seal(PLACE, b"x"))


def test_every_changed_byte_is_noticed():
    stored = seal(PLACE, b"attack at dawn")
    for index in range(len(stored)):
        with pytest.raises(SecretUnreadable):
            unseal(PLACE, stored[:index] + bytes([stored[index] ^ 1]) + stored[index + 1 :])


@pytest.mark.parametrize("stored", [b"", b"\x01", b"garbage", b'{"role": "user"}'])
def test_what_was_never_sealed_is_unreadable(stored):
    with pytest.raises(SecretUnreadable):
        unseal(PLACE, stored)


def test_during_a_rotation_old_values_are_read_and_new_ones_made_with_the_new_key(settings):
    old_key, stored = settings.SECRET_KEY, seal(PLACE, b"x")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the new key", ["one that never was", old_key]
    assert unseal(PLACE, stored) == b"x"
    renewed = seal(PLACE, b"x")
    settings.SECRET_KEY_FALLBACKS = []
    assert unseal(PLACE, renewed) == b"x"
    with pytest.raises(SecretUnreadable):
        unseal(PLACE, stored)


# --- The field --------------------------------------------------------------------------------------------------------
@pytest.fixture
def record(project) -> IdempotencyRecord:
    return IdempotencyRecord.objects.create(
        project=project,
        key="k",
        fingerprint="f",
        response_status=200,
        response_body="attack",
        created_at=database_now(),
    )


def raw(record: IdempotencyRecord) -> bytes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT response_body FROM jobs_idempotencyrecord WHERE id = %s", [record.pk])
        return bytes(cursor.fetchone()[0])


def test_a_field_is_plain_in_queries_and_sealed_in_its_table(record):
    assert IdempotencyRecord.objects.get().response_body == "attack"
    assert IdempotencyRecord.objects.values_list("response_body", flat=True).get() == "attack"
    assert b"attack" not in raw(record)
    IdempotencyRecord.objects.update(response_body={"a": 1})
    assert IdempotencyRecord.objects.get().response_body == {"a": 1}
    IdempotencyRecord.objects.update(response_body=None)
    assert IdempotencyRecord.objects.filter(response_body__isnull=True).get() == record


@pytest.mark.parametrize("lookup", [{"response_body": "x"}, {"response_body__a": 1}, {"response_body__contains": "x"}])
def test_nothing_is_looked_for_in_a_field(db, lookup):
    with pytest.raises(FieldError):
        IdempotencyRecord.objects.filter(**lookup).exists()


# --- Migrations -------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_a_column_is_encrypted_in_batches_and_back_again(monkeypatch, batch):
    columns = importlib.import_module("accounts.encrypting_columns")
    monkeypatch.setattr(columns, "BATCH", batch)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE papers (id int PRIMARY KEY, said jsonb)")
        try:
            cursor.execute("""INSERT INTO papers VALUES (1, '{"a": "attack"}'), (2, NULL), (3, '"ü"'), (4, 'null')""")
            before = said(cursor)
            operation = columns.encrypt_json("m", "papers", "id", "said", None, required=False).database_operations[0]
            with connection.schema_editor(atomic=False) as editor:
                operation.code(apps, editor)
                cursor.execute("SELECT id, said FROM papers ORDER BY id")
                sealed = dict(cursor.fetchall())
                assert b"attack" not in bytes(sealed[1])
                assert sealed[2] is None
                assert unseal_json("papers.said", bytes(sealed[1])) == {"a": "attack"}
                operation.reverse_code(apps, editor)
            assert said(cursor) == before
        finally:
            cursor.execute("DROP TABLE papers")


def said(cursor) -> list[tuple]:
    cursor.execute("SELECT id, said::text, pg_typeof(said)::text FROM papers ORDER BY id")
    return cursor.fetchall()


# --- A change of keys -------------------------------------------------------------------------------------------------
def test_everything_is_written_anew_with_the_new_key(record, organization, settings, monkeypatch):
    monkeypatch.setattr(reencryption, "BATCH", 1)
    credential = ProviderCredential(organization=organization)
    credential.api_key = "sk-of-the-provider"
    credential.save()
    other = IdempotencyRecord.objects.create(
        project=record.project, key="other", fingerprint="f", response_body=[1], created_at=database_now()
    )
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the new key", [settings.SECRET_KEY]
    done = reencryption.reencrypt()
    assert done["jobs_idempotencyrecord.response_body"] == 2
    assert done["accounts_providercredential.encrypted_api_key"] == 1
    assert "jobs_jobcontent.message" in done
    assert reencryption.reencrypt()["jobs_idempotencyrecord.response_body"] == 0
    settings.SECRET_KEY_FALLBACKS = []
    assert IdempotencyRecord.objects.get(pk=record.pk).response_body == "attack"
    assert IdempotencyRecord.objects.get(pk=other.pk).response_body == [1]
    assert ProviderCredential.objects.get().api_key == "sk-of-the-provider"
