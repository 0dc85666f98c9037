"""Owns: an OpenAI endpoint for people without a key and for tests, with models, prices, limits and a durable bill.

Does not own: anything of the product. It imports no Django and no app of Bursar, so that its bill is a second opinion
on the ledger and not an echo of it.

Invariants: a billed call is in the bill, on disk, before the first byte of its answer is sent; a client that hangs up
is billed all the same; nothing leaves this machine, but webhooks to the URL that was asked for.
"""
