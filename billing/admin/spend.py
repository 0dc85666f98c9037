"""The totals of usage records as rows. The pages that people read are the dashboard's."""

from django.contrib import admin

from accounts.admin.base import Capability, Place, ProjectFilter, ReadOnlyAdmin
from billing.admin.books import ModelFilter
from billing.admin.money import share, tokens_column, usd_column
from billing.models import SpendRollup


@admin.register(SpendRollup)
class SpendRollupAdmin(ReadOnlyAdmin):
    place = Place(projects=("project",))
    sees = Capability.SEE_SPEND
    list_display = (
        "day",
        "organization",
        "project",
        "model",
        "service_tier",
        "calls",
        tokens_column("input_tokens"),
        tokens_column("output_tokens"),
        tokens_column("reasoning_tokens"),
        "reasoning_share",
        usd_column("total_usd", "cost"),
        "empty_calls",
        usd_column("empty_usd", "paid for empty"),
    )
    list_filter = ("day", ModelFilter, "service_tier", "organization", ("project", ProjectFilter))
    list_select_related = ("organization", "project")
    search_fields = ("model", "organization__name", "project__name", "project__slug")
    id_fields = ("organization_id", "project_id", "team_id", "api_key_id")
    ordering = ("-day", "-id")

    @admin.display(description="reasoning share")
    def reasoning_share(self, rollup: SpendRollup) -> str:
        return share(rollup.reasoning_tokens, rollup.output_tokens)
