"""An export as an answer to a request."""

from django.http import StreamingHttpResponse

from accounts.audit import Who
from billing.exports import audit, streams
from billing.exports.selection import Selection
from billing.exports.streams import Format


def download(selection: Selection, form: Format, by: Who) -> StreamingHttpResponse:
    """The file, for browsers to save. It is written down before, and made while it is sent."""
    audit.note(selection, form, by)
    disposition = f'attachment; filename="{streams.file_name(selection, form)}"'
    return StreamingHttpResponse(
        streams.content(selection, form),
        content_type=form.content_type,
        # A proxy that gathers the whole answer first would have to keep it.
        headers={"Content-Disposition": disposition, "Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
