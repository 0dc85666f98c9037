"""`GET /models`: the catalogue as the key's project may use it."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.contract import ProjectView, UsdField, page_of, problems
from billing.clock import database_now
from jobs.api import examples
from jobs.api.offers import Offer, offers_to


class PriceSerializer(serializers.Serializer):
    """US dollars per million tokens; reasoning is output."""

    input_usd_per_million = UsdField()
    cached_input_usd_per_million = UsdField()
    output_usd_per_million = UsdField()
    cache_write_usd_per_million = UsdField(
        allow_null=True, help_text="Of input that is written to the cache. Null: what input costs."
    )
    effective_from = serializers.DateField()


class RateLimitsSerializer(serializers.Serializer):
    """What the provider lets the organization send to a model and its family. Null: it states no limit."""

    requests_per_minute = serializers.IntegerField(allow_null=True)
    tokens_per_minute = serializers.IntegerField(allow_null=True)
    requests_per_day = serializers.IntegerField(allow_null=True)
    tokens_per_day = serializers.IntegerField(allow_null=True)
    batch_queue_tokens = serializers.IntegerField(allow_null=True)


class SnapshotSerializer(serializers.Serializer):
    """A dated version. Null: as its model."""

    name = serializers.CharField()
    is_current = serializers.BooleanField(help_text="The model's own name stands for this one.")
    max_output_tokens = serializers.IntegerField(allow_null=True)
    shutdown_on = serializers.DateField(allow_null=True)


class AvailabilitySerializer(serializers.Serializer):
    """Whether a job on the model would be taken, and if not, why."""

    usable = serializers.BooleanField()
    code = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)


class ModelSerializer(serializers.Serializer):
    """A model of the provider on the terms of the key's organization."""

    name = serializers.CharField(source="model.name")
    object = serializers.SerializerMethodField()
    snapshots = SnapshotSerializer(many=True, source="model.snapshots.all")
    is_reasoning = serializers.BooleanField(source="model.is_reasoning")
    context_window = serializers.IntegerField(source="model.context_window")
    max_output_tokens = serializers.IntegerField(source="model.max_output_tokens")
    endpoints = serializers.ListField(child=serializers.CharField(), source="model.endpoints")
    reasoning_efforts = serializers.ListField(child=serializers.CharField(), source="model.reasoning_efforts")
    minimum_tier = serializers.IntegerField(source="model.minimum_tier")
    released_on = serializers.DateField(source="model.released_on")
    shutdown_on = serializers.DateField(source="model.shutdown_on", allow_null=True)
    successor = serializers.SerializerMethodField()
    availability = AvailabilitySerializer()
    prices = serializers.SerializerMethodField(help_text="By service tier.")
    rate_limits = RateLimitsSerializer(allow_null=True)

    def get_object(self, offer: Offer) -> str:
        return "model"

    def get_successor(self, offer: Offer) -> str | None:
        return offer.model.successor or None

    @extend_schema_field(serializers.DictField(child=PriceSerializer()))
    def get_prices(self, offer: Offer) -> dict[str, Any]:
        return {tier.value: PriceSerializer(price).data for tier, price in offer.prices.items()}


class ModelsView(ProjectView):
    @extend_schema(
        operation_id="listModels",
        summary="List the models",
        description="The provider's models with the prices and rate limits of the organization's terms, and whether "
        "the project may use them.",
        tags=["Models"],
        responses={200: page_of("ModelPage", ModelSerializer), **problems()},
        examples=[examples.MODELS],
    )
    def get(self, request: Request) -> Response:
        """Every model of the catalogue, on one page."""
        offers = offers_to(self.api_key.project, database_now())
        return Response({"data": ModelSerializer(offers, many=True).data, "has_more": False, "next": None})
