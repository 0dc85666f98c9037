"""`/v1/files`: what is uploaded for batches, and what they answer; kept in memory, and gone with the process."""

import time
import uuid
from dataclasses import dataclass
from typing import Any

from aiohttp import BodyPartReader, web

from config.simulator import errors, replies
from config.simulator.calls import ARRIVAL, Caller

PATH = "/v1/files"
# The Batch API's own limit (batch guide, 2025).
BYTES_MAX = 200 * 2**20
PURPOSES = ("batch",)
SHORTEST_LIFE, LONGEST_LIFE = 3600, 2_592_000
WORDS_MAX = 64  # bytes of a field that is no file


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file and whose it is. `expires_at` in seconds of UTC, None for one that stays."""

    id: str
    organization: str
    project: str
    filename: str
    purpose: str
    created_at: int
    expires_at: int | None
    data: bytes

    def body(self) -> dict[str, Any]:
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": len(self.data),
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "status": "processed",
            "status_details": None,
        }


class Files:
    """Every file of one simulator."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}

    def add(self, caller: Caller, filename: str, purpose: str, data: bytes, lifetime: int | None) -> StoredFile:
        now = int(time.time())
        expires_at = None if lifetime is None else now + lifetime
        own_id = "file-" + uuid.uuid4().hex[:22]
        file = StoredFile(own_id, caller.organization, caller.project, filename, purpose, now, expires_at, data)
        self._files[file.id] = file
        return file

    def find(self, file_id: str, caller: Caller) -> StoredFile:
        """A file of the caller's project. Raises ApiError for one that is unknown, deleted, expired or another's."""
        file = self._files.get(file_id)
        is_ours = file is not None and (file.organization, file.project) == (caller.organization, caller.project)
        if file is None or not is_ours or (file.expires_at is not None and file.expires_at < time.time()):
            raise no_such_file(file_id)
        return file

    def delete(self, file_id: str, caller: Caller) -> None:
        self._files.pop(self.find(file_id, caller).id)

    def of(self, caller: Caller) -> list[StoredFile]:
        """The caller's files, the newest first."""
        ours = (caller.organization, caller.project)
        return [file for file in reversed(self._files.values()) if (file.organization, file.project) == ours]


FILES = web.AppKey("FILES", Files)


def no_such_file(file_id: str) -> errors.ApiError:
    return errors.ApiError(404, f"No such File object: {file_id}", param="id")


# --- Routes -----------------------------------------------------------------------------------------------------------
async def create_file(http: web.Request) -> web.StreamResponse:
    words, filename, data = await _form(http)
    if data is None:
        raise errors.missing_parameter("file")
    if "purpose" not in words:
        raise errors.missing_parameter("purpose")
    if words["purpose"] not in PURPOSES:
        raise errors.invalid_value("purpose", words["purpose"], PURPOSES)
    file = http.app[FILES].add(http[ARRIVAL].caller, filename, words["purpose"], data, _lifetime(words))
    return replies.success(file.body(), replies.provider_headers(http[ARRIVAL]))


async def list_files(http: web.Request) -> web.StreamResponse:
    found = [file.body() for file in http.app[FILES].of(http[ARRIVAL].caller)]
    return replies.success(
        {"object": "list", "data": found, "has_more": False}, replies.provider_headers(http[ARRIVAL])
    )


async def retrieve_file(http: web.Request) -> web.StreamResponse:
    file = http.app[FILES].find(http.match_info["file"], http[ARRIVAL].caller)
    return replies.success(file.body(), replies.provider_headers(http[ARRIVAL]))


async def retrieve_content(http: web.Request) -> web.StreamResponse:
    file = http.app[FILES].find(http.match_info["file"], http[ARRIVAL].caller)
    headers = {**replies.provider_headers(http[ARRIVAL]), "content-type": "application/octet-stream"}
    return web.Response(body=file.data, headers=headers)


async def delete_file(http: web.Request) -> web.StreamResponse:
    file_id = http.match_info["file"]
    http.app[FILES].delete(file_id, http[ARRIVAL].caller)
    return replies.success({"id": file_id, "object": "file", "deleted": True}, replies.provider_headers(http[ARRIVAL]))


async def _form(http: web.Request) -> tuple[dict[str, str], str, bytes | None]:
    """The fields that are words, the name of the file and its bytes. Raises ApiError."""
    if not http.content_type.startswith("multipart/"):
        raise errors.missing_parameter("file")
    words: dict[str, str] = {}
    filename, data = "upload", None
    async for part in await http.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        if part.name == "file":
            filename, data = part.filename or filename, bytes(await _read(part, BYTES_MAX))
        elif part.name:
            words[part.name] = bytes(await _read(part, WORDS_MAX)).decode("utf-8", "replace")
    return words, filename, data


async def _read(part: BodyPartReader, most: int) -> bytearray:
    data = bytearray()
    while piece := await part.read_chunk(2**18):
        data += piece
        if len(data) > most:
            raise errors.ApiError(413, f"The file may have {most} bytes at most.", param=part.name)
    return data


def _lifetime(words: dict[str, str]) -> int | None:
    """Seconds that the file is kept; None where nothing is said."""
    text = words.get("expires_after[seconds]")
    if text is None:
        return None
    if words.get("expires_after[anchor]") != "created_at":
        raise errors.invalid_value("expires_after[anchor]", words.get("expires_after[anchor]"), ("created_at",))
    if not text.isdecimal() or not SHORTEST_LIFE <= int(text) <= LONGEST_LIFE:
        raise errors.wrong_type("expires_after[seconds]", f"an integer from {SHORTEST_LIFE} to {LONGEST_LIFE}", text)
    return int(text)


ROUTES = (
    web.post(PATH, create_file),
    web.get(PATH, list_files),
    web.get(PATH + "/{file}", retrieve_file),
    web.get(PATH + "/{file}/content", retrieve_content),
    web.delete(PATH + "/{file}", delete_file),
)
