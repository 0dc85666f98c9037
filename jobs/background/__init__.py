"""Calls that the provider makes in the background: begun in a worker, and from then on nobody's but the database's.

`choice` says which calls go this way. A worker begins one (`beginning`) and lets go of it as soon as its id is stored
(`acceptance`). `looking` asks the provider what came of those that are due, and books what has ended, by the same path
as a chat's answer. `webhook` hears of an end early, and only makes somebody look.
"""
