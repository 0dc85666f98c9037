"""What is done to an organization itself."""

from accounts import changes
from accounts.audit import Who
from accounts.models import Organization


def rename(organization: Organization, name: str, *, by: Who) -> Organization:
    """The organization under its new name."""
    return changes.update(organization, {"name": name}, "organization", by=by, organization_id=organization.pk)
