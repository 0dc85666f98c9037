"""What people type on the pages of quotas. Times are UTC."""

from datetime import UTC, datetime
from typing import Any

from django import forms

from billing.models import Measure, Price, WindowKind
from billing.models.budgets import LEAST_RISK, MOST_RISK


class InstantField(forms.DateTimeField):
    """A day and a time, UTC."""

    def __init__(self, **kwargs: Any):
        widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
        super().__init__(required=False, widget=widget, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return value.astimezone(UTC) if isinstance(value, datetime) else value


def amount_field(label: str, **kwargs: Any) -> forms.DecimalField:
    """An amount in the measure of a quota, exact to twelve places."""
    widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
    return forms.DecimalField(label=label, min_value=0, max_digits=24, decimal_places=12, widget=widget, **kwargs)


def _models() -> list[tuple[str, str]]:
    names = Price.objects.order_by("model").values_list("model", flat=True).distinct()
    return [("", "Every model"), *((name, name) for name in names)]


class LimitForm(forms.Form):
    """How much, and until when."""

    limit = amount_field("Limit")
    is_hard = forms.BooleanField(
        label="Hard",
        required=False,
        initial=True,
        help_text="A hard limit is never crossed; a soft one is counted and shown.",
    )
    expires_at = InstantField(label="Expires, UTC", help_text="Empty: until it is ended.")
    risk = forms.DecimalField(
        label="Risk",
        required=False,
        min_value=LEAST_RISK,
        max_value=MOST_RISK,
        max_digits=5,
        decimal_places=4,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        help_text="Of a reserve: the share of calls that may come to more than quotas hold for them; 0.01 is one in a "
        "hundred. Empty for all else.",
    )

    def __init__(self, *args: Any, may_be_reserve: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not may_be_reserve:
            del self.fields["risk"]


class NewQuotaForm(LimitForm):
    """What it counts, beside. Whom it binds stands in the address; the organization alone may have a reserve."""

    field_order = ("measure", "model", "window", "limit", "risk", "is_hard", "starts_at", "expires_at")

    measure = forms.ChoiceField(label="Counts", choices=Measure.choices, initial=Measure.USD)
    model = forms.ChoiceField(label="Model", choices=_models, required=False)
    window = forms.ChoiceField(label="Window", choices=WindowKind.choices, initial=WindowKind.MONTH)
    starts_at = InstantField(label="Starts, UTC", help_text="Empty: at once. A fixed window needs both ends.")

    def __init__(self, *args: Any, may_be_reserve: bool = False, **kwargs: Any):
        super().__init__(*args, may_be_reserve=may_be_reserve, **kwargs)
        if not may_be_reserve:
            measure = self.fields["measure"]
            assert isinstance(measure, forms.ChoiceField)
            measure.choices = [choice for choice in Measure.choices if choice[0] != Measure.RESERVE]


class AskForm(forms.Form):
    """A request for more."""

    amount = amount_field("How much more")
    until = InstantField(label="Until, UTC", help_text="Empty: the end of the window that is open.")
    reason = forms.CharField(label="Reason", max_length=1000, widget=forms.Textarea(attrs={"rows": 2}))


class DecisionForm(forms.Form):
    """What is decided about a request."""

    amount = amount_field("Approve", required=False)
    until = InstantField(label="Until, UTC")
    note = forms.CharField(label="Note", required=False, max_length=1000)
