"""What `accounts` answers over HTTP, and what every route of `/api/v1` has in common."""
