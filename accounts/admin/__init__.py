"""Admin pages of `accounts`. Those whose rows move a limit are registered by `billing.admin.standing`."""

from accounts.admin import audit, keys, memberships, organizations, people, tiers

__all__ = ["audit", "keys", "memberships", "organizations", "people", "tiers"]
