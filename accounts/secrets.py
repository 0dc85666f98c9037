"""Secrets at rest: encrypted with keys derived from BURSAR_SECRET_KEY, old keys still readable during a rotation."""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from accounts.errors import DomainError


class SecretUnreadable(DomainError):
    """A stored secret cannot be decrypted: BURSAR_SECRET_KEY has changed.

    Put the old one into BURSAR_SECRET_KEY_FALLBACKS.
    """

    code = "secret_unreadable"


def _fernet(secret_key: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"bursar secrets at rest").derive(secret_key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))


def _cipher() -> MultiFernet:
    return MultiFernet([_fernet(key) for key in [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]])


def encrypt(secret: str) -> str:
    """The secret as text that only this deployment can read."""
    return _cipher().encrypt(secret.encode()).decode()


def decrypt(stored: str) -> str:
    """The secret itself. Raises SecretUnreadable when no known key fits."""
    try:
        return _cipher().decrypt(stored.encode()).decode()
    except InvalidToken as error:
        raise SecretUnreadable from error
