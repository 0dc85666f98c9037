"""What the routes of `billing` and `jobs` have in common beside `accounts.api.contract`: how money goes out."""

from rest_framework import serializers

from accounts.api.contract import ApiSchema, ProjectView, page_of, problems, read_query
from accounts.api.fields import UsdField

__all__ = ["ApiSchema", "CostSerializer", "ProjectView", "UsdField", "page_of", "problems", "read_query"]


class CostSerializer(serializers.Serializer):
    """US dollars by what they bought: uncached input, cached input, visible output, reasoning. The parts add up."""

    input_usd = UsdField()
    cached_input_usd = UsdField()
    output_usd = UsdField()
    reasoning_usd = UsdField()
    total_usd = UsdField()
