"""Answers on their way to clients that read them while they are made: from the worker by Valkey to the web process.

Nothing here is the answer: that is stored when its call is settled, and whoever missed something has it then. So all of
it may be lost at any instant, and is never kept. It is encrypted as stored content is (docs/decisions/0035).
"""
