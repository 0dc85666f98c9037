"""Django's PostgreSQL backend, for a server that may die and come back: see `base`."""
