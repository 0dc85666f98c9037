"""The pages of quotas: the tree of an organization, a quota's own page, and the requests for more."""

from billing.admin.quotas import pages

__all__ = ["pages"]
