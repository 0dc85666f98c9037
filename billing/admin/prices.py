"""Prices: written once each, imported from a file after a look at what it changes, exported as such a file."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from accounts import audit
from accounts.admin.base import EVERYBODYS, BursarAdmin, Capability, list_of
from accounts.models import AuditAction, User
from billing import price_imports
from billing.admin.money import dollars, usd_column
from billing.admin.what_if import WhatIfPage
from billing.clock import database_now
from billing.csv_files import attached
from billing.models import Price
from billing.price_files import (
    COLUMNS,
    MAX_BYTES,
    MAX_ROWS,
    Fault,
    PriceFileFaulty,
    PriceRow,
    model_fault,
    read,
    source_fault,
    write_csv,
)
from billing.price_imports import ImportRefused, Outcome, Plan, PreviewOutdated, Step, stored_rows

OUTCOME_BADGES = {
    Outcome.NEW: "good",
    Outcome.CHANGED: "busy",
    Outcome.UNCHANGED: "quiet",
    Outcome.REFUSED: "bad",
}
# So many faults of a file are shown; whoever has more has the wrong file.
SHOWN_FAULTS = 500
EXAMPLE = """\
model,service_tier,input_usd_per_million,cached_input_usd_per_million,output_usd_per_million,effective_from,source
o1-mini,standard,3.00,1.50,12.00,2024-11-28,"the provider's price page, 2024-11-28"
o1-mini,standard,1.10,0.55,4.40,2025-02-01,"the provider's price page, 2025-02-01"
o1-preview,batch,7.50,7.50,30.00,2024-11-19,"half of the standard price; no discount on cached input"
"""


class PriceForm(forms.ModelForm):
    """Takes the names and sources that a price file takes, so that what was exported can be imported."""

    class Meta:
        model = Price
        fields = "__all__"  # noqa: DJ007  # the admin names the fields

    def clean_model(self) -> str:
        return _sound("model", self.cleaned_data["model"], model_fault)

    def clean_source(self) -> str:
        return _sound("source", self.cleaned_data["source"], source_fault)


def _sound(name: str, text: str, fault_of: Any) -> str:
    message = fault_of(text)
    if message:
        raise ValidationError(f"The {name} {message}.")
    return text


class PriceFileForm(forms.Form):
    file = forms.FileField(label="Price file", help_text=f"CSV or JSON, UTF-8, at most {MAX_ROWS:,} prices and 1 MiB.")


@admin.register(Price)
class PriceAdmin(WhatIfPage, BursarAdmin):
    """A stored price keeps its figures: a new price is a new row, and one that was never used can be deleted."""

    place = EVERYBODYS
    sees = Capability.SEE

    form = PriceForm
    list_display = (
        "model",
        "service_tier",
        "effective_from",
        usd_column("input_usd_per_million", "input / 1M"),
        usd_column("cached_input_usd_per_million", "cached input / 1M"),
        usd_column("output_usd_per_million", "output / 1M"),
        usd_column("cache_write_usd_per_million", "to the cache / 1M"),
        "source",
    )
    list_filter = ("service_tier", "effective_from", "model")
    search_fields = ("model", "source")
    id_fields = ()
    date_hierarchy = "effective_from"
    ordering = ("model", "service_tier", "-effective_from")
    readonly_fields = ("usage",)

    def get_fields(self, request: HttpRequest, obj: Price | None = None) -> Any:
        fields = [*COLUMNS]
        return [*fields, "usage"] if obj else fields

    def get_readonly_fields(self, request: HttpRequest, obj: Price | None = None) -> Any:
        # A call that is being reserved meanwhile would be settled at other figures than it was held at.
        return (*self.readonly_fields, *(name for name in COLUMNS if name != "source")) if obj else self.readonly_fields

    @admin.display(description="used by")
    def usage(self, price: Price) -> SafeString:
        """A record keeps the figures that it was made with, whatever becomes of this row."""
        return list_of("billing_usagerecord", "Usage records at this price", price__id__exact=price.pk)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("import/", wrap(self.import_page), name="billing_price_import"),
            path("import/example/", wrap(self.example_file), name="billing_price_example"),
            path("export/", wrap(self.export_file), name="billing_price_export"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        offered = {"may_import": self.has_import_permission(request), "may_ask_what_if": self.may_ask_what_if(request)}
        page: HttpResponse = super().changelist_view(request, {**offered, **(extra_context or {})})
        return page

    def has_import_permission(self, request: HttpRequest) -> bool:
        return bool(self.has_add_permission(request) and self.has_change_permission(request))

    def import_page(self, request: HttpRequest) -> HttpResponse:
        """The form; after it what the file would change; after that the change. The preview carries the file along."""
        if not self.has_import_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return self._import_form(request, PriceFileForm())
        if "digest" in request.POST:
            return self._apply(request)
        form = PriceFileForm(request.POST, request.FILES)
        if not form.is_valid():
            return self._import_form(request, form)
        upload: UploadedFile = form.cleaned_data["file"]
        content = upload.read(MAX_BYTES + 1)
        try:
            rows = read(content)
        except PriceFileFaulty as error:
            return self._import_form(request, form, faults=error.faults, file_name=upload.name or "")
        text = content.decode("utf-8-sig")
        return self._preview(request, price_imports.preview(rows), text, upload.name or "a file")

    def _apply(self, request: HttpRequest) -> HttpResponse:
        text, file_name = request.POST.get("content", ""), request.POST.get("file_name", "")[:100] or "a file"
        try:
            rows = read(text)
        except PriceFileFaulty as error:  # nobody comes here from a preview
            return self._import_form(request, PriceFileForm(), faults=error.faults, file_name=file_name)
        assert isinstance(request.user, User)
        try:
            plan = price_imports.apply(
                rows, request.POST["digest"], actor=request.user, origin=file_name, by=audit.who(request)
            )
        except (PreviewOutdated, ImportRefused) as error:
            self.message_user(request, str(error), messages.ERROR)
            return self._preview(request, error.plan, text, file_name)
        added, replaced = plan.counts[Outcome.NEW], plan.counts[Outcome.CHANGED]
        self.message_user(request, f"Imported {file_name}: {added} added, {replaced} replaced.", messages.SUCCESS)
        return redirect("admin:billing_price_changelist")

    def _import_form(
        self, request: HttpRequest, form: PriceFileForm, *, faults: list[Fault] | None = None, file_name: str = ""
    ) -> HttpResponse:
        shown = {
            "form": form,
            "columns": COLUMNS,
            "faults": (faults or [])[:SHOWN_FAULTS],
            "fault_count": len(faults or []),
            "file_name": file_name,
        }
        return self._page(request, "admin/billing/price_import.html", "Import a price file", shown)

    def _preview(self, request: HttpRequest, plan: Plan, text: str, file_name: str) -> HttpResponse:
        order = [Outcome.REFUSED, Outcome.CHANGED, Outcome.NEW, Outcome.UNCHANGED]
        steps = sorted(plan.steps, key=lambda step: (order.index(step.outcome), step.row.line))
        shown = {
            "plan": plan,
            "counts": [
                (OUTCOME_BADGES[outcome] if count else "quiet", outcome.label, count)
                for outcome, count in sorted(plan.counts.items(), key=lambda item: order.index(item[0]))
            ],
            "steps": [_cells(step) for step in steps],
            "refused": plan.counts[Outcome.REFUSED],
            "content": text,
            "file_name": file_name,
        }
        return self._page(request, "admin/billing/price_preview.html", f"What {file_name} would change", shown)

    def example_file(self, request: HttpRequest) -> HttpResponse:
        if not self.has_import_permission(request):
            raise PermissionDenied
        return attached(EXAMPLE, "example-prices.csv")

    def export_file(self, request: HttpRequest) -> HttpResponse:
        """Every price, as a file that can be imported."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows: list[PriceRow] = stored_rows()
        audit.record(
            AuditAction.EXPORTED,
            "price",
            "",
            by=audit.who(request),
            organization_id=None,
            name="every price",
            after={"rows": len(rows)},
        )
        return attached(write_csv(rows), f"prices-{database_now():%Y-%m-%d}.csv")

    def _page(self, request: HttpRequest, template: str, title: str, shown: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media}
        return TemplateResponse(request, template, {**common, **shown})


def _cells(step: Step) -> dict[str, Any]:
    """One line of the preview."""
    row, after = step.row, step.predecessor
    return {
        "line": row.line,
        "model": row.model,
        "service_tier": row.service_tier,
        "badge": OUTCOME_BADGES[step.outcome],
        "outcome": step.outcome.label,
        "figures": [
            {
                "was": "" if was is None or was == becomes else dollars(was),
                "becomes": dollars(becomes),
                "change": f"{change:+} %" if change else "",
            }
            for was, becomes, change in step.compared
        ],
        "since": f"from {row.effective_from}",
        "until": f"until {step.until}" if step.until else "no end known",
        "after": f"the price from {after.effective_from}, which ends then" if after else "none: it is the first",
        "source": row.source,
        "note": step.note,
        "is_warning": bool(step.calls),
    }
