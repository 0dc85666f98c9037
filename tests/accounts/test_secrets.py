"""Secrets at rest: unreadable in the table, readable with the key, and still so while the key is rotated."""

import pytest

from accounts.models import ProviderCredential
from accounts.secrets import SecretUnreadable, decrypt, encrypt
from tests.accounts.rows import text_of

KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789WXYZ"


@pytest.mark.parametrize("secret", [KEY, "", "x", "ключ 鍵 🔑", "a" * 10_000, "line\nline\x00"])
def test_a_secret_comes_back_as_it_was(secret):
    assert decrypt(encrypt(secret)) == secret


def test_the_same_secret_looks_different_every_time():
    first, second = encrypt(KEY), encrypt(KEY)
    assert first != second
    assert KEY not in first + second


def test_another_key_cannot_read_it(settings):
    stored = encrypt(KEY)
    settings.SECRET_KEY = "another key of fifty characters, as long as it needs to be"
    with pytest.raises(SecretUnreadable) as refused:
        decrypt(stored)
    assert refused.value.code == "secret_unreadable"
    assert "BURSAR_SECRET_KEY_FALLBACKS" in refused.value.message
    assert KEY not in str(refused.value)


def test_during_a_rotation_old_secrets_are_read_and_new_ones_written_with_the_new_key(settings):
    old_key, stored = settings.SECRET_KEY, encrypt(KEY)
    settings.SECRET_KEY = "the new key"
    settings.SECRET_KEY_FALLBACKS = ["one that never was", old_key]
    assert decrypt(stored) == KEY
    renewed = encrypt(KEY)
    settings.SECRET_KEY_FALLBACKS = []
    assert decrypt(renewed) == KEY
    with pytest.raises(SecretUnreadable):
        decrypt(stored)


@pytest.mark.parametrize("stored", ["", "garbage", "ключ", "gAAAAA==", KEY])
def test_what_was_never_encrypted_is_unreadable_and_not_given_back(stored):
    with pytest.raises(SecretUnreadable):
        decrypt(stored)


def test_a_changed_letter_is_noticed():
    stored = encrypt(KEY)
    middle = len(stored) // 2
    forged = stored[:middle] + ("A" if stored[middle] != "A" else "B") + stored[middle + 1 :]
    with pytest.raises(SecretUnreadable):
        decrypt(forged)


def test_a_provider_credential_holds_nothing_of_its_key_but_the_hint(organization):
    credential = ProviderCredential(organization=organization)
    credential.api_key = KEY
    credential.save()
    stored = text_of(ProviderCredential, credential.pk)
    assert "WXYZ" in stored
    assert not [KEY[i : i + 8] for i in range(len(KEY) - 7) if KEY[i : i + 8] in stored]
    assert str(credential) == "Alice: ...WXYZ"
    assert ProviderCredential.objects.get().api_key == KEY


def test_a_provider_credential_outlives_its_key_being_replaced(organization):
    credential = ProviderCredential(organization=organization)
    for key in (KEY, "sk-second-0000"):
        credential.api_key = key
        credential.save()
    again = ProviderCredential.objects.get()
    assert (again.api_key, again.api_key_hint) == ("sk-second-0000", "0000")
