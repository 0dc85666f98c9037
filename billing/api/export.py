"""`GET /spend/export`: what was spent, as a file."""

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request

from accounts import audit
from accounts.models import Organization
from billing.api.contract import ProjectView, problems, read_query
from billing.api.spend import PeriodQuery, within
from billing.exports.download import download
from billing.exports.selection import Selection
from billing.exports.streams import Format
from billing.reach import reach_of_key


class ExportQuery(PeriodQuery):
    def get_fields(self) -> dict[str, serializers.Field]:
        form = serializers.ChoiceField(
            choices=[(form.value, form.value) for form in Format],
            required=False,
            default=Format.CSV.value,
            help_text="`csv` and `parquet`: one row a usage record. `focus` and `focus-parquet`: the columns of FOCUS.",
        )
        return {**super().get_fields(), "format": form}


class FormatIsOurs(DefaultContentNegotiation):
    """The parameter `format` names a file's format; by default the framework takes it for one of its renderers."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class SpendExportView(ProjectView):
    content_negotiation_class = FormatIsOurs

    @extend_schema(
        operation_id="exportSpend",
        summary="What was spent, as a file",
        description="The same money as in `GET /spend`, and adjustments besides: the costs of all rows sum to the "
        "ledger, to the last digit. The file is written as it is sent; one that breaks off is not whole.",
        tags=["Spend and limits"],
        parameters=[ExportQuery],
        responses={
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "CSV"),
            (200, "application/vnd.apache.parquet"): OpenApiResponse(OpenApiTypes.BINARY, "Parquet"),
            **problems(400),
        },
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """The file."""
        query = read_query(request, ExportQuery)
        reach = reach_of_key(self.api_key)
        selection = Selection(
            Organization.objects.get(pk=reach.organization_id),
            query["from"],
            query["to"],
            projects=within(query["project"], reach),
            teams=query["team"],
            members=query["member"],
            keys=query["key"],
            models=query["model"],
        )
        return download(selection, Format(query["format"]), audit.who(request))
