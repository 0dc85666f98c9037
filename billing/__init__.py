"""Owns: what may be spent and what was. Prices, quotas, budgets, reservations, the ledger, usage records, rollups;
alerts about them, by mail and webhook.

Does not own: jobs and how they run (`jobs`), people and tiers (`accounts`). It knows no job: who reserves leaves an
opaque reference and gets plain values back. The one door for writers is `billing/ledger.py`.

Invariants: spent + held never exceeds a budget's limit by a new hold; a reservation is settled or released once; ledger
entries are appended, never changed; a budget's counters are the sums of its entries; dropping a rollup costs time,
never truth; amounts are Decimal US dollars with twelve places; the clock of money is the database's.
"""
