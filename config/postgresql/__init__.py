"""Django's PostgreSQL engine, with a look at each connection that is borrowed instead of a round trip."""
