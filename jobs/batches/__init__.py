"""Batches: a file of requests, each line of which becomes a job under the same limits and in the same turns as any.

A listing of this folder reads as the life of a batch: `files` (what is sent and fetched, in pieces), `lines`,
`creation`, `validating`, `feeding`, `harvesting`, `ending`, `results`; `steps` drives them, one transaction after the
other, so that a process that is killed anywhere leaves a batch as it was after the last of them.
"""
