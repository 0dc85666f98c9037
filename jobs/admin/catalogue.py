"""The model catalogue: what each model takes, and from when until when."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.admin import TabularInline

from accounts.admin.base import EVERYBODYS, BursarAdmin, Capability, SeenWithOwner, badge, list_of
from jobs.models import LanguageModel, ModelSnapshot


class SnapshotFormSet(forms.BaseInlineFormSet):
    def clean(self) -> None:
        super().clean()
        kept = [form.cleaned_data for form in self.forms if hasattr(form, "cleaned_data")]
        if sum(bool(row.get("is_current") and not row.get("DELETE")) for row in kept) > 1:
            raise forms.ValidationError("One snapshot at most is current: the one that the alias answers with.")


class SnapshotInline(SeenWithOwner, TabularInline):
    model = ModelSnapshot
    formset = SnapshotFormSet
    extra = 0


@admin.register(LanguageModel)
class LanguageModelAdmin(BursarAdmin):
    place = EVERYBODYS
    sees = Capability.SEE
    list_display = (
        "name",
        "state",
        "is_reasoning",
        "transport",
        "context_window",
        "max_output_tokens",
        "minimum_tier",
        "released_on",
        "shutdown_on",
        "successor",
    )
    list_filter = ("is_reasoning", "transport", "minimum_tier", "accepts_images", "accepts_tools", "shutdown_on")
    search_fields = ("name", "snapshots__name", "successor", "rate_limit_family")
    id_fields = ()
    date_hierarchy = "released_on"
    ordering = ("name",)
    inlines = (SnapshotInline,)
    readonly_fields = ("state", "related")
    fieldsets = (
        (None, {"fields": ("name", "is_reasoning", "source")}),
        ("Sizes and access", {"fields": ("context_window", "max_output_tokens", "minimum_tier", "rate_limit_family")}),
        (
            "What it takes",
            {
                "fields": (
                    "endpoints",
                    "transport",
                    "roles",
                    "parameters",
                    "fixed_parameters",
                    "reasoning_efforts",
                    "response_formats",
                    "accepts_images",
                    "accepts_tools",
                )
            },
        ),
        ("From when until when", {"fields": ("released_on", "shutdown_on", "successor")}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: LanguageModel | None = None) -> Any:
        found = super().get_fieldsets(request, obj)
        return [*found, ("Now", {"fields": ("state", "related")})] if obj else found

    @admin.display(description="state at OpenAI", ordering="shutdown_on")
    def state(self, model: LanguageModel) -> object:
        today = timezone.now().date()
        return badge("quiet", "shut down") if model.is_shut_down_on(today) else badge("good", "served")

    @admin.display(description="see also")
    def related(self, model: LanguageModel) -> SafeString:
        return list_of("jobs_job", "Jobs of this model", model=model.name)
