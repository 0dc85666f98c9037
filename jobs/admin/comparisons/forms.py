"""What people type to start a comparison: what is asked, and a row for each variant."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.http import QueryDict

from accounts.errors import DomainError
from accounts.models import ApiKey
from billing.admin.quotas.forms import amount_field
from jobs.comparisons.requests import CAP, EFFORT, MOST_TIMES, MOST_VARIANTS, Prompt, Variant, Wanted, named
from jobs.models import LanguageModel

ROWS, MORE_ROWS = 4, 4


class KeyField(forms.ModelChoiceField):
    """API keys, each with its project, on which the calls are booked."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.project.organization.name}: {obj.project.name}, {obj}"


class StartForm(forms.Form):
    """What a comparison asks, how often, and what it may come to."""

    api_key = KeyField(
        ApiKey.objects.none(),
        label="Project and API key",
        help_text="The calls are booked on both.",
    )
    name = forms.CharField(required=False, max_length=200, help_text="To find it by.")
    prompt = forms.CharField(strip=False, widget=forms.Textarea(attrs={"rows": 6}))
    times = forms.IntegerField(
        min_value=1, max_value=MOST_TIMES, initial=1, help_text="Runs of each variant; from 5 on with an interval."
    )
    max_cost_usd = amount_field("Ceiling, US dollars", help_text="All calls together never come to more.")
    baseline = forms.IntegerField(
        label="Savings are against row", min_value=1, max_value=MOST_VARIANTS, initial=1, required=False
    )

    def __init__(self, keys: Any, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        chosen: Any = self.fields["api_key"]
        chosen.queryset = keys

    def clean_prompt(self) -> str:
        text: str = self.cleaned_data["prompt"]
        if not text.strip():
            raise forms.ValidationError("Write what the models are asked.")
        # A browser sends the ends of lines as forms have them.
        return text.replace("\r\n", "\n")

    def clean_max_cost_usd(self) -> Decimal:
        amount: Decimal = self.cleaned_data["max_cost_usd"]
        if not amount:
            raise forms.ValidationError("This is more than 0.")
        return amount


def _models() -> list[tuple[str, str]]:
    return [
        ("", "–"),
        *((name, name) for name in LanguageModel.objects.order_by("name").values_list("name", flat=True)),
    ]


def _efforts() -> list[tuple[str, str]]:
    found = {
        effort for efforts in LanguageModel.objects.values_list("reasoning_efforts", flat=True) for effort in efforts
    }
    order = {name: place for place, name in enumerate(("none", "minimal", "low", "medium", "high", "xhigh"))}
    return [("", "default"), *((name, name) for name in sorted(found, key=lambda one: (order.get(one, 99), one)))]


class VariantForm(forms.Form):
    """One variant; a row without a model is none."""

    model = forms.ChoiceField(choices=_models, required=False)
    effort = forms.ChoiceField(choices=_efforts, required=False)
    cap = forms.IntegerField(min_value=1, required=False)
    wording = forms.CharField(
        required=False, strip=False, widget=forms.Textarea(attrs={"rows": 1}), help_text="Added to the prompt."
    )

    def variant(self) -> Variant | None:
        """What the row says."""
        given = self.cleaned_data
        if not given.get("model"):
            return None
        parameters = {EFFORT: given.get("effort"), CAP: given.get("cap")}
        wording = (given.get("wording") or "").replace("\r\n", "\n")
        kept = {name: value for name, value in parameters.items() if value}
        return Variant("", given["model"], kept, wording if wording.strip() else "")


@dataclass
class Start:
    """The form with its rows, as a request brought them; none: an empty one."""

    form: StartForm
    rows: Sequence[VariantForm]

    def wanted(self) -> Wanted | None:
        """The comparison that was asked for; None where something is wrong, which the forms say then."""
        if not all([self.form.is_valid(), *(row.is_valid() for row in self.rows)]):
            return None
        places = self._places()
        if not places:
            self.form.add_error(None, "Choose the model of one variant at least.")
            return None
        baseline = self.form.cleaned_data.get("baseline") or places[0] + 1
        if baseline - 1 not in places:
            self.form.add_error("baseline", "This row has no model.")
            return None
        given = self.form.cleaned_data
        return Wanted(
            prompts=[Prompt("Prompt 1", [{"role": "user", "content": given["prompt"]}], "prompt")],
            variants=named([variant for row in self.rows if (variant := row.variant())]),
            times=given["times"],
            max_cost_usd=given["max_cost_usd"],
            baseline=places.index(baseline - 1),
            name=given["name"],
        )

    def refuse(self, error: DomainError) -> None:
        """Says where the fault is: in the row that it is in, or above all."""
        place = re.match(r"variants\[(\d+)\]", error.param or "")
        if place:
            self.rows[self._places()[int(place[1])]].add_error(None, error.message)
        else:
            param = error.param if error.param in self.form.fields else None
            self.form.add_error(param, error.message)

    def digest(self) -> str:
        """Of all that was typed: a preview is of this and of nothing else."""
        said = repr((self.form.cleaned_data, [row.cleaned_data for row in self.rows]))
        return hashlib.sha256(said.encode()).hexdigest()

    def _places(self) -> list[int]:
        """The rows that are variants."""
        return [place for place, row in enumerate(self.rows) if row.variant()]


def start_of(data: QueryDict | None, keys: Any) -> Start:
    """The form as it was sent, or an empty one."""
    if data is None:
        return Start(StartForm(keys), [VariantForm(prefix=f"v{place}") for place in range(ROWS)])
    return Start(StartForm(keys, data), [VariantForm(data, prefix=f"v{place}") for place in range(_rows(data))])


def with_more_rows(data: QueryDict, keys: Any) -> Start:
    """What was typed so far, not checked, with some rows more."""
    initial = {name: data.get(name) for name in StartForm.base_fields}
    rows = range(min(_rows(data) + MORE_ROWS, MOST_VARIANTS))
    typed = [{name: data.get(f"v{place}-{name}") for name in VariantForm.base_fields} for place in rows]
    filled = [VariantForm(prefix=f"v{place}", initial=typed[place]) for place in rows]
    return Start(StartForm(keys, initial=initial), filled)


def _rows(data: QueryDict) -> int:
    """How many rows were sent."""
    asked = str(data.get("rows", ""))
    return max(1, min(int(asked), MOST_VARIANTS)) if re.fullmatch(r"[0-9]{1,2}", asked) else ROWS
