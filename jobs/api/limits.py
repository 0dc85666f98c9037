"""`GET /limits`: everything that limits the key's project, and how full it stands."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.tiers import standing
from billing.api.contract import ProjectView, UsdField, problems
from billing.api.forecasts import ForecastSerializer, forecast_as_sent
from billing.api.spend import OwnerSerializer
from billing.budgets import owner_of, states_of
from billing.clock import database_now
from billing.models import Measure, Scope
from billing.outlook.histories import outlooks
from jobs.api import examples
from jobs.api.models import RateLimitsSerializer
from jobs.api.offers import offers_to


class TierSerializer(serializers.Serializer):
    """The usage tier that the organization stands at, and the payments behind it."""

    number = serializers.IntegerField(source="tier.number")
    name = serializers.CharField(source="tier.name")
    is_override = serializers.BooleanField(help_text="Set by hand, and not by payments.")
    monthly_limit_usd = UsdField(source="tier.monthly_limit_usd")
    paid_usd = UsdField()
    days_since_first_payment = serializers.IntegerField(allow_null=True)


class BudgetSerializer(serializers.Serializer):
    """A limit and how full it stands: what is spent, what calls under way hold, what a new one may still take."""

    scope = serializers.ChoiceField(choices=Scope.choices)
    id = serializers.CharField(help_text="Of the organization, team, project, member or API key.")
    name = serializers.CharField()
    origin = serializers.CharField(help_text="What set the limit: a usage tier or a quota.")
    measure = serializers.ChoiceField(choices=Measure.choices, help_text="The unit of the four amounts.")
    model = serializers.CharField(allow_null=True, help_text="The one model that is counted; null: every model.")
    is_hard = serializers.BooleanField(help_text="A hard limit is never crossed; a soft one is counted and shown.")
    limit = serializers.CharField()
    spent = serializers.CharField()
    held = serializers.CharField()
    remaining = serializers.CharField()
    window_start = serializers.CharField()
    resets_at = serializers.CharField()
    forecast = ForecastSerializer()


class ModelRateLimitsSerializer(RateLimitsSerializer):
    model = serializers.CharField()
    family = serializers.CharField(help_text="Models of one family share these limits.")


class LimitsSerializer(serializers.Serializer):
    organization = OwnerSerializer()
    project = OwnerSerializer()
    tier = TierSerializer()
    budgets = BudgetSerializer(many=True)
    rate_limits = ModelRateLimitsSerializer(many=True, help_text="Of the models that have any at this tier.")


class LimitsView(ProjectView):
    @extend_schema(
        operation_id="getLimits",
        summary="Everything that limits the project",
        description="The usage tier, every budget that binds the project's calls this month, each model's rate limits.",
        tags=["Spend and limits"],
        responses={200: LimitsSerializer, **problems()},
        examples=[examples.LIMITS],
    )
    def get(self, request: Request) -> Response:
        """The limits of the key's project at this instant."""
        project, now = self.api_key.project, database_now()
        organization = project.organization
        states = states_of(owner_of(self.api_key), now)
        found = outlooks(states, now)
        return Response(
            {
                "organization": OwnerSerializer(organization).data,
                "project": OwnerSerializer(project).data,
                "tier": TierSerializer(standing(organization, now)).data,
                "budgets": [
                    {
                        **state.describe(),
                        "forecast": forecast_as_sent(found[state.limit.key], state.limit.measure),
                    }
                    for state in states
                ],
                "rate_limits": [
                    {
                        "model": offer.model.name,
                        "family": offer.model.family,
                        **RateLimitsSerializer(offer.rate_limits).data,
                    }
                    for offer in offers_to(project, now)
                    if offer.rate_limits is not None
                ],
            }
        )
