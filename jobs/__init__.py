"""Owns: the work, from submission to answer. The model catalogue, jobs, their content, attempts.

A listing of this folder reads as the life of a job: submission, validation, estimates, dispatch, limiter, execution,
provider, breakers, background, recovery, cancellation, erasure. `front_door` speaks as the provider does, `batches`
makes many jobs of one file.

Does not own: money (`billing`, entered by `billing.ledger` alone) or people and tiers (`accounts`).

Invariants: PostgreSQL is the queue, Celery and Redis are hints; a status changes by compare-and-set along `states.py`;
an attempt is committed as calling before the first byte is sent, and one that was calling is never sent again; no
transaction is open during a call; prompts and answers live in `JobContent` and `FileChunk` alone, encrypted.
"""
