"""What is sent to the routes of quotas, and how it is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import NON_FIELD_ERRORS
from django.core.exceptions import ValidationError as ModelError
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from accounts import access
from accounts.access import Capability
from accounts.api.fields import AmountField, FlagField, InstantField
from accounts.api.management import Body
from accounts.models import ApiKey, Membership, Organization, User
from billing.clock import database_now
from billing.models import Measure, Quota, Scope, WindowKind
from billing.models.budgets import LEAST_RISK, MOST_RISK
from billing.periods import Window, month_of

# The fields of a quota that name its owner, which are one field here.
OWNER_FIELDS: Final = {Scope.TEAM: "team", Scope.PROJECT: "project", Scope.MEMBER: "member", Scope.KEY: "api_key"}
NAMES: Final = {**dict.fromkeys(OWNER_FIELDS.values(), "owner_id"), NON_FIELD_ERRORS: "non_field_errors"}


class LimitField(AmountField):
    """A limit in the unit of its measure: 0 or more, a decimal string or a number that the parser kept exact."""

    def to_internal_value(self, data: Any) -> Decimal:
        try:
            return super().to_internal_value(data)
        except ValidationError as error:
            if error.get_codes() == ["not_positive"] and Decimal(data) == 0:
                return Decimal(0)
            raise


class RiskField(serializers.DecimalField):
    """A share of calls, as "0.01"."""

    def __init__(self, **kwargs: Any):
        super().__init__(max_digits=5, decimal_places=4, min_value=LEAST_RISK, max_value=MOST_RISK, **kwargs)

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


RISK_HELP: Final = (
    "Of a reserve alone: the share of calls that may come to more than the quotas below the organization hold for them."
)


class QuotaBodySerializer(Body):
    """A new quota."""

    scope = serializers.ChoiceField(choices=Scope.choices)
    owner_id = serializers.CharField(
        required=False, help_text="Of the team, project, member or API key that it binds; none for an organization."
    )
    measure = serializers.ChoiceField(choices=Measure.choices, default=Measure.USD)
    window = serializers.ChoiceField(choices=WindowKind.choices, default=WindowKind.MONTH)
    model = serializers.CharField(
        default="", allow_null=True, allow_blank=True, help_text="Counts this model only. Null: every model."
    )
    limit = LimitField(help_text="US dollars, tokens or jobs, as the measure says. A decimal string, or a number.")
    is_hard = FlagField(default=True, help_text="A hard limit is never crossed; a soft one is counted and shown.")
    starts_at = InstantField(default=None, allow_null=True, help_text="Binds from then on. Null: at once.")
    expires_at = InstantField(default=None, allow_null=True, help_text="Binds until then. Null: until it is removed.")
    risk = RiskField(default=None, allow_null=True, help_text=RISK_HELP)


class QuotaPatchSerializer(Body):
    """What may be changed of a quota. Whom it binds and what it counts stays: make another one for that."""

    limit = LimitField(required=False, help_text="A limit below what is spent and held stops new calls only.")
    is_hard = FlagField(required=False)
    expires_at = InstantField(required=False, allow_null=True)
    risk = RiskField(required=False, allow_null=True, help_text=RISK_HELP)


class PreviewBodySerializer(QuotaBodySerializer):
    """A quota that is not there yet, or with `quota` a new limit of one that is."""

    quota = serializers.UUIDField(required=False, help_text="A quota that there is; then only `limit` beside it.")
    scope = serializers.ChoiceField(choices=Scope.choices, required=False)
    month = serializers.RegexField(
        r"^\d{4}-(0[1-9]|1[0-2])\Z", required=False, help_text="Like 2024-09, UTC. Default: the month before this one."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "quota" in self.initial_data:
            other = sorted(set(self.initial_data) - {"quota", "limit", "month"})
            if other:
                message = "The quota says this already; send `limit` and `month` beside `quota`."
                raise ValidationError(dict.fromkeys(other, message))
        elif "scope" not in attrs:
            raise ValidationError({"scope": [ErrorDetail("Send `scope`, or `quota`.", code="required")]})
        return attrs


class AskSerializer(Body):
    """A request for more of one quota."""

    quota = serializers.UUIDField(required=False, help_text="The quota that is too small.")
    scope = serializers.ChoiceField(
        choices=Scope.choices, required=False, help_text="Or the level, where the key's own calls meet one quota at it."
    )
    amount = AmountField(help_text="How much more than the limit, in its measure. A decimal string, or a number.")
    reason = serializers.CharField(max_length=1000)
    until = InstantField(required=False, help_text="When the raise ends. Default: the end of the window now open.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("quota" in attrs) == ("scope" in attrs):
            raise ValidationError({"quota": [ErrorDetail("Send exactly one of quota and scope.", code="invalid")]})
        return attrs


class ApprovalSerializer(Body):
    """What is approved; by default what was asked for."""

    amount = AmountField(required=False)
    until = InstantField(required=False)
    note = serializers.CharField(required=False, allow_blank=True, max_length=1000, default="")


class RefusalSerializer(Body):
    note = serializers.CharField(max_length=1000, help_text="Why: whoever asked reads it.")


@contextmanager
def faults_by_field() -> Iterator[None]:
    """Says what `billing` finds wrong as the API does, by the names that its fields have here."""
    try:
        yield
    except ModelError as error:
        found = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
        raise ValidationError({NAMES.get(name, name): messages for name, messages in found.items()}) from error


def quota_of(body: dict[str, Any], organization: Organization, person: User) -> Quota:
    """The quota that a body describes, not stored. Raises ValidationError, also for owners that the person sees not."""
    scope = Scope(body["scope"])
    quota = Quota(
        organization=organization,
        scope=scope,
        measure=body["measure"],
        window=body["window"],
        model=body["model"] or "",
        limit=body["limit"],
        is_hard=body["is_hard"],
        starts_at=body["starts_at"],
        expires_at=body["expires_at"],
        risk=body["risk"],
    )
    owner_id = body.get("owner_id")
    if scope in OWNER_FIELDS:
        owner = _owner(scope, owner_id or "", organization, person)
        if owner is None:
            message = f"There is no {scope.label.lower()} with this id."
            raise ValidationError({"owner_id": [ErrorDetail(message, code="does_not_exist")]})
        setattr(quota, OWNER_FIELDS[scope], owner)
    elif owner_id and owner_id != str(organization.pk):
        raise ValidationError({"owner_id": [ErrorDetail("A quota of the organization has no other owner.", "invalid")]})
    return quota


def month_of_text(text: str | None, default: Window) -> Window:
    """The month that a body names. Raises ValidationError for one that has not begun."""
    if text is None:
        return default
    year, month = map(int, text.split("-"))
    now = database_now()
    if year < 2000 or (year, month) > (now.year, now.month):
        raise ValidationError({"month": [ErrorDetail("This month has not begun, or is long past.", code="invalid")]})
    return month_of(now.replace(year=year, month=month, day=1))


def _owner(scope: Scope, text: str, organization: Organization, person: User) -> Any:
    """The one of the organization that this person sees; None where there is none."""
    if scope == Scope.MEMBER:
        sees_all = access.may(person, Capability.SEE_SPEND, organization.pk)
        if not text.isascii() or not text.isdecimal() or len(text) > 18 or not (sees_all or text == str(person.pk)):
            return None
        membership = Membership.objects.filter(organization=organization, user=int(text)).select_related("user").first()
        return membership and membership.user
    try:
        pk = UUID(text)
    except ValueError:
        return None
    projects = access.projects(person).filter(organization=organization)
    match scope:
        case Scope.TEAM:
            return access.teams(person).filter(organization=organization, pk=pk).first()
        case Scope.PROJECT:
            return projects.filter(pk=pk).first()
        case _:
            return ApiKey.objects.filter(project__in=projects, pk=pk).select_related("project").first()
