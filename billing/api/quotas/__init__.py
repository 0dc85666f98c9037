"""Quotas and requests for more, over HTTP. They are `billing`'s; what is done once under a key is kept here."""
