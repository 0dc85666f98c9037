"""The dashboard of an organization: the page that people land on. Its figures come from `billing.dashboard`."""
