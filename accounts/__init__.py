"""Owns: who may act, on whose behalf, and under which of the provider's limits.

Users, organizations, projects, teams, memberships, API keys, provider credentials and accounts; usage tiers, rate
limits and the payments that a tier follows from. The audit trail, idempotency records, and what routes have in common.

Does not own: prices, spend and quotas (`billing`), or any job (`jobs`). Imports neither.

Invariants: a secret is stored hashed (API keys) or encrypted (provider credentials), never as it is; tiers and rate
limits are dated rows with a source; a manual tier says who set it and why.
"""
