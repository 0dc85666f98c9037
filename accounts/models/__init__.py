"""The tables of `accounts`, one noun a file."""

from accounts.models.audit import AuditAction, AuditEntry, AuditTrail
from accounts.models.credentials import AdminCredential, ProviderCredential
from accounts.models.idempotency import IdempotencyRecord
from accounts.models.keys import ApiKey
from accounts.models.organizations import AdviceRule, DoubtPolicy, Membership, Organization, Project, Role, Team
from accounts.models.tiers import Payment, ProjectRateLimit, RateLimit, TierOverride, UsageTier
from accounts.models.users import User

__all__ = [
    "AdminCredential",
    "AdviceRule",
    "ApiKey",
    "AuditAction",
    "AuditEntry",
    "AuditTrail",
    "DoubtPolicy",
    "IdempotencyRecord",
    "Membership",
    "Organization",
    "Payment",
    "Project",
    "ProjectRateLimit",
    "ProviderCredential",
    "RateLimit",
    "Role",
    "Team",
    "TierOverride",
    "UsageTier",
    "User",
]
