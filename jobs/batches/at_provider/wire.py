"""The requests of the provider's files and batches, by the official client, each sent once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import httpx2
import openai
from openai import Omit, OpenAI, omit

from jobs import limiter
from jobs.credentials import Access
from jobs.models import ProviderBatch
from jobs.official_client import client_for

# The pair of metadata by which a batch is found again whose id was lost.
TOKEN_KEY = "bursar_provider_batch"  # noqa: S105
TIMEOUT_SECONDS, CONNECT_SECONDS = 120.0, 10.0
# The provider forgets the file of requests by itself: a batch ends within a day, and a day is left for its end.
INPUT_KEPT_SECONDS = 3 * 24 * 3600
PIECE_BYTES = 256 * 1024
# Five thousand answers as long as any model gives; what is longer was not written by the provider.
MOST_BYTES = 4 * 2**30
PAGE, MOST_PAGES = 100, 100
SERVER_ERROR, GATEWAY_TIMED_OUT = 500, 408
LONGEST_ID, LONGEST_STATUS, LONGEST_CODE = 100, 20, 100


class Refused(Exception):
    """The provider has read the request and said no."""

    def __init__(self, status: int, code: str):
        super().__init__(f"{status} {code}".strip())
        self.status = status
        self.code = code


class NotKnown(Exception):
    """Whether the provider has done what was asked is not known; no part of its words is in here."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the provider says of a batch."""

    id: str
    status: str
    output_file: str
    error_file: str
    completed: int
    codes: tuple[str, ...]


class Wire:
    """The requests of one access. Closed when the block ends."""

    def __init__(self, access: Access) -> None:
        self.account = limiter.account_of(access)
        timeout = httpx2.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx2.Client(timeout=timeout, follow_redirects=False, trust_env=False)
        self._client = client_for(access, OpenAI, self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self._http.close()

    def upload(self, name: str, data: bytes) -> str:
        """Sends a file of requests; the provider's id of it. Raises Refused or NotKnown."""
        with _said():
            file = self._client.files.create(
                file=(name, data),
                purpose="batch",
                expires_after={"anchor": "created_at", "seconds": INPUT_KEPT_SECONDS},
            )
            return _text(file.id, LONGEST_ID)

    def create(self, provider_batch: ProviderBatch) -> str:
        """Has a batch made; its id there. Raises Refused, or NotKnown: then it may be there all the same."""
        with _said():
            made = self._client.batches.create(
                input_file_id=provider_batch.input_file,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={TOKEN_KEY: str(provider_batch.pk)},
            )
            return _text(made.id, LONGEST_ID)

    def find(self, pk: UUID, since: datetime) -> str | None:
        """The id of the batch that carries ours, among those made since; None where there is none.

        Raises Refused or NotKnown, also where there are more batches than can be looked through.
        """
        earliest = int(since.timestamp())
        after: str | Omit = omit
        with _said():
            for _ in range(MOST_PAGES):
                page = self._client.batches.list(limit=PAGE, after=after)
                for each in page.data:
                    if (each.metadata or {}).get(TOKEN_KEY) == str(pk):
                        return _text(each.id, LONGEST_ID)
                if not page.data or not page.has_more or min(each.created_at for each in page.data) < earliest:
                    return None
                after = page.data[-1].id
            raise NotKnown("there are more batches than can be looked through")

    def retrieve(self, provider_id: str) -> Told:
        """How far a batch is. Raises Refused or NotKnown."""
        with _said():
            return _told(self._client.batches.retrieve(provider_id))

    def cancel(self, provider_id: str) -> Told:
        """Stops a batch, which then ends some minutes later. Raises Refused or NotKnown."""
        with _said():
            return _told(self._client.batches.cancel(provider_id))

    def content(self, file_id: str) -> Iterator[bytes]:
        """What a file holds, piece by piece. Raises Refused or NotKnown."""
        with _said():
            headers = {"Accept-Encoding": "identity"}
            with self._client.files.with_streaming_response.content(file_id, extra_headers=headers) as answer:
                come = 0
                for piece in answer.iter_bytes(PIECE_BYTES):
                    come += len(piece)
                    if come > MOST_BYTES:
                        raise NotKnown("the file does not end")
                    yield piece


@contextmanager
def _said() -> Iterator[None]:
    """Puts whatever went wrong as Refused or NotKnown; neither has words of the provider beside a code."""
    try:
        yield
    except openai.APIStatusError as error:
        # A call that ends with a 500 is not billed; a batch may have been made all the same.
        if error.status_code >= SERVER_ERROR or error.status_code == GATEWAY_TIMED_OUT:
            raise NotKnown(f"HTTP {error.status_code}") from error
        body = error.body if isinstance(error.body, dict) else {}
        raise Refused(error.status_code, _code(body.get("code") or body.get("type"))) from error
    except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, AttributeError) as error:
        raise NotKnown(type(error).__name__) from error


def _told(batch: Any) -> Told:
    counts, errors = batch.request_counts, batch.errors
    return Told(
        id=_text(batch.id, LONGEST_ID),
        status=_text(batch.status, LONGEST_STATUS),
        output_file=_text(batch.output_file_id or "", LONGEST_ID),
        error_file=_text(batch.error_file_id or "", LONGEST_ID),
        completed=max(0, int(counts.completed)) if counts else 0,
        codes=tuple(_code(error.code) for error in (errors.data or [])) if errors else (),
    )


def _text(value: Any, longest: int) -> str:
    """A text that can be stored; raises TypeError for anything else."""
    if not isinstance(value, str) or len(value) > longest or not (value.isascii() and value.isprintable()):
        raise TypeError("expected an id")
    return value


def _code(value: Any) -> str:
    """A code as the provider has them, and nothing that only stands where one should."""
    text = value if isinstance(value, str) else ""
    return text[:LONGEST_CODE] if text.replace("_", "").replace(".", "").isalnum() and text.isascii() else ""
