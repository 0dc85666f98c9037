"""The content of files: written, read and erased in pieces, so that none is ever in memory as a whole.

It stands in PostgreSQL, where every web process and worker finds it, on whichever machine it runs. A file that is being
written is nobody's to see; one whose writer died is erased later.
"""

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from accounts.encryption import seal, unseal
from accounts.models import ApiKey, Project
from billing.clock import database_now
from jobs.batches.errors import FileInUse, FileTooLarge
from jobs.batches.states import BATCH_ACTIVE, FileStatus, Purpose
from jobs.erasure import kept_for
from jobs.models import Batch, File, FileChunk, ProviderBatch

CHUNK_BYTES = 256 * 1024
# As the provider keeps files of batches, where nothing else is said.
KEPT_FOR = timedelta(days=30)
# No upload takes that long: its sender is gone, or the process that wrote it.
UPLOAD_GIVEN_UP_AFTER = timedelta(hours=6)
# Prompts and answers are encrypted at rest, wherever they stand.
_PLACE = "jobs_filechunk.data"
# Pieces that one statement erases: 64 MB of content.
ERASED_AT_ONCE = 256


class Upload:
    """A file that comes piece by piece. Each piece is a transaction of its own: a sender may be slow."""

    def __init__(self, project: Project, api_key: ApiKey, filename: str):
        self.file = File.objects.create(
            project=project,
            api_key=api_key,
            filename=_storable(filename)[:255],
            purpose=Purpose.BATCH,
            created_at=database_now(),
        )
        self._pending = bytearray()

    def write(self, data: bytes) -> None:
        """Takes some more. Raises FileTooLarge above BURSAR_MAX_FILE_BYTES."""
        self._pending += data
        check_size(self.file.bytes + len(self._pending))
        while len(self._pending) >= CHUNK_BYTES:
            append(self.file, bytes(self._pending[:CHUNK_BYTES]))
            del self._pending[:CHUNK_BYTES]

    def finish(self, purpose: Purpose, lifetime: timedelta) -> File:
        """The file, whole, and from now on to be seen, for so long at most."""
        append(self.file, bytes(self._pending))
        self.file.status, self.file.purpose = FileStatus.PROCESSED, purpose
        self.file.expires_at = self.file.created_at + lifetime_in(self.file.project, lifetime)
        self.file.save(update_fields=["status", "purpose", "expires_at", "bytes"])
        return self.file

    def give_up(self) -> None:
        """Erases what has come."""
        self.file.delete()


def lifetime_in(project: Project, wanted: timedelta) -> timedelta:
    """How long a file of a project is kept where somebody wants it so long: content is kept no longer than others."""
    kept = kept_for(project)
    return wanted if kept is None else min(wanted, kept)


def check_size(length: int) -> None:
    """Raises FileTooLarge for more bytes than a file may have."""
    if length > settings.MAX_FILE_BYTES:
        raise FileTooLarge(
            f"A file may have {settings.MAX_FILE_BYTES:,} bytes, and this one has more. Split it into several.",
            param="file",
        )


def append(file: File, data: bytes) -> None:
    """Adds to the end of a file, whose `bytes` grow with it; they are saved by whoever writes it."""
    for start in range(0, len(data), CHUNK_BYTES):
        piece = data[start : start + CHUNK_BYTES]
        FileChunk.objects.create(file=file, position=file.bytes, data=seal(_PLACE, piece))
        file.bytes += len(piece)


def content(file: File, start: int = 0) -> Iterator[bytes]:
    """The bytes of a file from a position on, piece by piece; each is asked for when it is needed."""
    position = start
    while True:
        # The piece that holds the position is the last one that does not begin behind it.
        piece = FileChunk.objects.filter(file=file, position__lte=position).order_by("-position").first()
        data = unseal(_PLACE, piece.data)[position - piece.position :] if piece else b""
        if not data:
            return
        yield data
        position += len(data)


def read(file: File, start: int, length: int) -> bytes:
    """So many bytes from a position on, or as many as there are."""
    found = bytearray()
    for data in content(file, start):
        found += data
        if len(found) >= length:
            break
    return bytes(found[:length])


def files_of(project: Project) -> "QuerySet[File]":
    """The files of a project that are there to be seen."""
    not_expired = Q(expires_at__isnull=True) | Q(expires_at__gt=Now())
    return File.objects.filter(not_expired, project=project, status=FileStatus.PROCESSED)


@transaction.atomic
def erase(file: File) -> None:
    """Erases the content of a file for good. Raises FileInUse while a batch reads it."""
    # Whoever makes a batch of it locks it as well, so that either comes first.
    File.objects.select_for_update().get(pk=file.pk)
    if Batch.objects.filter(input_file=file, status__in=BATCH_ACTIVE).exists():
        raise FileInUse
    FileChunk.objects.filter(file=file).delete()
    File.objects.filter(pk=file.pk).update(status=FileStatus.ERASED)


def erase_old() -> int:
    """Erases what has expired and what was never finished; how many files. The next call does what is left."""
    now = database_now()
    expired = Q(status=FileStatus.PROCESSED, expires_at__lte=now)
    # What a batch writes is as young as its last piece of work, and is not given up.
    given_up = Q(status=FileStatus.WRITING, purpose=Purpose.BATCH, created_at__lte=now - UPLOAD_GIVEN_UP_AFTER)
    # Of what was fetched from the provider, what nobody reads: who fetched it has died.
    orphaned = Q(status=FileStatus.WRITING, purpose=Purpose.FETCHED, created_at__lte=now - UPLOAD_GIVEN_UP_AFTER)
    for column in ("answers", "refusals"):
        orphaned &= ~Q(pk__in=ProviderBatch.objects.filter(**{f"{column}__isnull": False}).values(column))
    in_use = Batch.objects.filter(status__in=BATCH_ACTIVE).values("input_file")
    erased = 0
    for file in File.objects.filter(expired | given_up | orphaned).exclude(pk__in=in_use).order_by("id")[:100]:
        if _erase_in_pieces(file):
            erased += 1
    return erased


def _erase_in_pieces(file: File) -> bool:
    while True:
        some = FileChunk.objects.filter(file=file).order_by("position").values("pk")[:ERASED_AT_ONCE]
        if not FileChunk.objects.filter(pk__in=some).delete()[0]:
            break
    return File.objects.filter(pk=file.pk).exclude(status=FileStatus.ERASED).update(status=FileStatus.ERASED) == 1


def _storable(name: str) -> str:
    """PostgreSQL has neither NUL nor half a surrogate pair in a text."""
    return "".join(c if c.isprintable() else "_" for c in name) or "file"
