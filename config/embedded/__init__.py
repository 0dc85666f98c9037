"""Owns: what `make` runs. Servers from wheels, the processes of Bursar under one supervisor, the virtual environment.

Does not own: anything that a deployment with its own PostgreSQL, Redis and process manager needs; nothing imports this
package but its own command line and the tests.

Invariants: Django is never imported here, only by subprocesses; no process outlives the supervisor, however that ends.
"""
