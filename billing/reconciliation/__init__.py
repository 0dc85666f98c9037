"""The ledger's usage records against the provider's own bill, by day, project of the provider and model.

`figures` are the words, `comparison` (with `midnight`) decides and touches nothing, `ours` reads our side, `runs` keeps
what came out, `decisions` are what people make of it. Fetching the bill belongs to `jobs.provider_bill`.
"""
