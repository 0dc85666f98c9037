"""Admin pages of `billing`: the books are shown only, limits are edited, and spend has pages of its own."""

from billing.admin import books, closings, limits, prices, spend, standing

__all__ = ["books", "closings", "limits", "prices", "spend", "standing"]
