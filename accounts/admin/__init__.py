"""Admin pages of `accounts`. Those whose rows move a limit are registered by `billing.admin.standing`."""

from accounts.admin import keys, organizations, people, tiers

__all__ = ["keys", "organizations", "people", "tiers"]
