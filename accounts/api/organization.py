"""`/organization`: the key's own, with the usage tier that it stands at."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import access, organizations
from accounts.access import Capability
from accounts.api.contract import problems
from accounts.api.fields import TextField, UsdField
from accounts.api.management import REFUSALS, TAGS, Body, ManagementView, read_body
from accounts.models import Organization
from accounts.tiers import missing_for, standing, tiers_on


class OrganizationChanges(Body):
    """What a PATCH may hold."""

    name = TextField(max_length=200)


class NextTierSerializer(serializers.Serializer):
    number = serializers.IntegerField()
    name = serializers.CharField()
    monthly_limit_usd = UsdField()
    missing = serializers.CharField(help_text="For people: what is missing to it.")


class PaymentsSerializer(serializers.Serializer):
    paid_usd = UsdField()
    days_since_first_payment = serializers.IntegerField(allow_null=True)


class UsageTierSerializer(serializers.Serializer):
    number = serializers.IntegerField(help_text="0 is the Free tier.")
    name = serializers.CharField()
    monthly_limit_usd = UsdField()
    is_override = serializers.BooleanField(help_text="Set by hand, whatever was paid.")
    payments = PaymentsSerializer(
        allow_null=True, help_text="What it follows from; null for keys that may not see the organization's spend."
    )
    next = NextTierSerializer(allow_null=True, help_text="Null at the highest tier, and where `payments` is.")


class OrganizationSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    slug = serializers.CharField()
    terms_on = serializers.DateField(
        allow_null=True, help_text="The day whose tiers, rate limits and prices apply; null: today's. Set in the admin."
    )
    dispatch_weight = serializers.IntegerField(help_text="Against those of other organizations. Set in the admin.")
    created_at = serializers.DateTimeField()
    tier = UsageTierSerializer()


EXAMPLE = OpenApiExample(
    "At tier 4",
    value={
        "id": "019ab3c0-5a10-7c44-9f4e-0f6f4ad3c111",
        "name": "Acme",
        "slug": "acme",
        "terms_on": None,
        "dispatch_weight": 100,
        "created_at": "2026-11-01T09:00:00Z",
        "tier": {
            "number": 4,
            "name": "Tier 4",
            "monthly_limit_usd": "5000.00",
            "is_override": False,
            "payments": {"paid_usd": "250.00", "days_since_first_payment": 20},
            "next": {
                "number": 5,
                "name": "Tier 5",
                "monthly_limit_usd": "50000.00",
                "missing": "$750.00 more in payments and 10 more days since the first payment",
            },
        },
    },
    response_only=True,
    status_codes=["200"],
)


class OrganizationView(ManagementView):
    plain_key_methods = frozenset({"GET"})
    takes = {"PATCH": Capability.OWN}

    @extend_schema(
        operation_id="getOrganization",
        summary="Look at the organization",
        description="The key's own organization and its usage tier. Any key may ask.",
        tags=TAGS,
        responses={200: OrganizationSerializer, **problems(403)},
        examples=[EXAMPLE],
    )
    def get(self, request: Request) -> Response:
        """The key's organization as it stands."""
        return Response(self._shown(Organization.objects.get(pk=self.organization.pk)))

    @extend_schema(
        operation_id="changeOrganization",
        summary="Rename the organization",
        description="By its owners. Terms, tier and weight are set by the service's staff.",
        tags=TAGS,
        request=OrganizationChanges,
        responses={200: OrganizationSerializer, **problems(*REFUSALS)},
        examples=[OpenApiExample("A new name", value={"name": "Acme Labs"}, request_only=True), EXAMPLE],
    )
    def patch(self, request: Request) -> Response:
        """The organization under its new name."""
        wanted = read_body(request, OrganizationChanges, partial=True)
        found = Organization.objects.get(pk=self.organization.pk)
        return Response(self._shown(organizations.rename(found, wanted.get("name", found.name), by=self.by)))

    def _shown(self, organization: Organization) -> dict[str, Any]:
        sees_payments = self.api_key.may_manage and access.may(self.person, Capability.SEE_SPEND, organization.pk)
        names = [str(name) for name in OrganizationSerializer().fields]
        fields = {name: getattr(organization, name) for name in names if name != "tier"}
        tier = tier_of(organization, with_payments=sees_payments)
        return dict(OrganizationSerializer({**fields, "tier": tier}).data)


def tier_of(organization: Organization, *, with_payments: bool) -> dict[str, Any]:
    """The tier that an organization stands at, and what is missing to the next one."""
    now = timezone.now()
    stands = standing(organization, now)
    following = tiers_on(organization.terms_date(now)).get(stands.tier.number + 1) if with_payments else None
    return {
        "number": stands.tier.number,
        "name": stands.tier.name,
        "monthly_limit_usd": stands.tier.monthly_limit_usd,
        "is_override": stands.is_override,
        "payments": stands if with_payments else None,
        "next": following
        and {
            "number": following.number,
            "name": following.name,
            "monthly_limit_usd": following.monthly_limit_usd,
            "missing": missing_for(following, stands),
        },
    }
