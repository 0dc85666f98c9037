"""`POST /v1/files` as it comes in: a form whose file is stored piece by piece, and is never in memory as a whole."""

from typing import Any

from django.core.files.uploadhandler import FileUploadHandler, SkipFile
from django.http import QueryDict
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from accounts.models import ApiKey
from jobs.batches.errors import FileTooLarge
from jobs.batches.files import CHUNK_BYTES, Upload, check_size

# What a form has beside its file: other fields, their names, and the lines between.
FORM_BYTES = 64 * 1024
# Read and dropped of a file that is refused, so that its sender hears why instead of seeing the connection break.
MAX_DISCARDED_BYTES = 512 * 1024 * 1024


class StoringHandler(FileUploadHandler):
    """Stores the field `file` as it comes. Other files of the form are left out."""

    chunk_size = CHUNK_BYTES

    def __init__(self, api_key: ApiKey):
        super().__init__()
        self._api_key = api_key
        self.upload: Upload | None = None

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        if field_name != "file" or self.upload is not None:
            raise SkipFile
        self.upload = Upload(self._api_key.project, self._api_key, file_name)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        assert self.upload is not None
        self.upload.write(raw_data)

    def file_complete(self, file_size: int) -> None:
        """Nothing to hand on: the file is where it stays."""

    def upload_interrupted(self) -> None:
        self.give_up()

    def give_up(self) -> None:
        """Erases what has come."""
        if self.upload is not None:
            self.upload.give_up()
            self.upload = None


class UploadParser(BaseParser):
    """The form's fields as `data`, and as its `file` an Upload that the view finishes or gives up."""

    media_type = "multipart/form-data"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """Raises ParseError, and FileTooLarge as soon as that is known."""
        request: Request = parser_context["request"]
        assert isinstance(request.auth, ApiKey)
        handler = StoringHandler(request.auth)
        try:
            check_size(int(request.META.get("CONTENT_LENGTH") or 0) - FORM_BYTES)
            form, _ = MultiPartParser(request.META, stream, [handler], "utf-8").parse()
        except FileTooLarge:
            handler.give_up()
            _discard(stream)
            raise
        except MultiPartParserError as error:
            handler.give_up()
            raise ParseError(f"The form cannot be read: {error}") from error
        except BaseException:
            handler.give_up()
            raise
        data: dict[str, Any] = dict(QueryDict.dict(form))
        if handler.upload is not None:
            data["file"] = handler.upload
        return data


def _discard(stream: Any) -> None:
    for _ in range(MAX_DISCARDED_BYTES // CHUNK_BYTES):
        if not stream.read(CHUNK_BYTES):
            return
