"""`/v1/files`: what batches read, and what they write."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpResponseBase, StreamingHttpResponse
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.batches import files
from jobs.batches.files import Upload
from jobs.batches.states import Purpose
from jobs.front_door import ids
from jobs.front_door.uploads import UploadParser
from jobs.front_door.views import ClientView
from jobs.models import File
from jobs.reads import note_file_read
from jobs.validation import RequestRejected
from jobs.validation.refusals import missing

PAGING = ids.Paging(usual=10_000, most=10_000)
SHORTEST_LIFE_SECONDS, LONGEST_LIFE_SECONDS = 3600, 30 * 24 * 3600


class FilesView(ClientView):
    parser_classes = [UploadParser]

    def post(self, request: Request) -> Response:
        """The file that was sent, whole."""
        form: dict[str, Any] = dict(request.data)
        upload = form.get("file")
        if not isinstance(upload, Upload):
            raise missing("file")
        try:
            purpose = _purpose(form)
            kept_for = lifetime(form)
        except RequestRejected:
            upload.give_up()
            raise
        return Response(file_as_sent(upload.finish(purpose, kept_for)))

    def get(self, request: Request) -> Response:
        """A page of the project's files, the newest first where nothing else is asked for."""
        found = files.files_of(self.api_key.project)
        if purpose := request.query_params.get("purpose"):
            found = found.filter(purpose=purpose) if purpose in Purpose.values else found.none()
        rows, has_more = ids.page(request, found, ids.FILE, PAGING)
        return Response(ids.as_list([file_as_sent(row) for row in rows], has_more=has_more))


class FileView(ClientView):
    def get(self, request: Request, file_id: str) -> Response:
        """What is known of a file."""
        return Response(file_as_sent(file_of(self, file_id)))

    def delete(self, request: Request, file_id: str) -> Response:
        """Erases it. Raises FileInUse while a batch reads it."""
        files.erase(file_of(self, file_id))
        return Response({"id": file_id, "object": "file", "deleted": True})


class Bytes(BaseRenderer):
    """Lets a view give bytes to whoever asks for them by any name."""

    media_type = "*/*"
    format = "bytes"
    charset = None

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        """What goes out instead where there are none: an error."""
        return JSONRenderer().render(data)


class FileContentView(ClientView):
    renderer_classes = [Bytes]

    def get(self, request: Request, file_id: str) -> HttpResponseBase:
        """Its bytes, as they are read."""
        file = file_of(self, file_id)
        note_file_read(file)
        answer = StreamingHttpResponse(files.content(file), content_type="application/octet-stream")
        answer["Content-Length"] = str(file.bytes)
        name = re.sub(r"[^A-Za-z0-9._-]", "_", file.filename)
        answer["Content-Disposition"] = f'attachment; filename="{name}"'
        return answer


def file_of(view: ClientView, file_id: str) -> File:
    """A file of the caller's project. Raises RequestRejected."""
    found = files.files_of(view.api_key.project).filter(pk=ids.id_of(file_id, ids.FILE)).first()
    file: File = ids.known(found, "File", file_id)
    return file


def file_as_sent(file: File) -> dict[str, Any]:
    """A file in the provider's words."""
    return {
        "id": file.public_id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": instant(file.created_at),
        "expires_at": instant(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": file.status,
        "status_details": None,
    }


def instant(at: datetime | None) -> int | None:
    """Seconds since 1970, as the provider tells the time."""
    return None if at is None else int(at.timestamp())


def _purpose(form: Mapping[str, Any]) -> Purpose:
    if "purpose" not in form:
        raise missing("purpose")
    if form["purpose"] != Purpose.BATCH:
        message = f"Invalid value: '{form['purpose'][:64]}'. Bursar takes files for batches: send 'batch'."
        raise RequestRejected(message, code="invalid_value", param="purpose")
    return Purpose.BATCH


def lifetime(form: Mapping[str, Any]) -> timedelta:
    """How long a file is kept, by `expires_after[...]` of a form. Raises RequestRejected."""
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return files.KEPT_FOR
    whole = int(seconds) if isinstance(seconds, str) and re.fullmatch(r"\d{1,9}", seconds) else None
    return lifetime_of("expires_after", anchor, whole)


def lifetime_of(name: str, anchor: object, seconds: object) -> timedelta:
    """So many seconds from the anchor, which can only be the creation. Raises RequestRejected."""
    if anchor != "created_at":
        message = f"Invalid '{name}': its anchor has to be 'created_at'."
        raise RequestRejected(message, code="invalid_value", param=f"{name}.anchor")
    if type(seconds) is not int or not SHORTEST_LIFE_SECONDS <= seconds <= LONGEST_LIFE_SECONDS:
        message = f"Invalid '{name}': seconds from {SHORTEST_LIFE_SECONDS} to {LONGEST_LIFE_SECONDS}, please."
        raise RequestRejected(message, code="invalid_value", param=f"{name}.seconds")
    return timedelta(seconds=seconds)
