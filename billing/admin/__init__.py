"""Admin pages of `billing`: the books are shown only, limits are edited, and spend has pages of its own."""

from billing.admin import books, limits, prices, spend, standing

__all__ = ["books", "limits", "prices", "spend", "standing"]
