"""The two kinds of money columns."""

from typing import Any

from django.db import models


class UsdField(models.DecimalField):
    """An amount of US dollars, exact to twelve places: enough for one cached token at batch price."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{**kwargs, "max_digits": 24, "decimal_places": 12})


class UsdPerMillionField(models.DecimalField):
    """A price in US dollars per million tokens. Six places here are the twelve of an amount."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{**kwargs, "max_digits": 18, "decimal_places": 6})
