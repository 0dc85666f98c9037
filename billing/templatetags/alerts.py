"""What pages of other apps say about alerts."""

from django import template

from accounts.models import Project
from billing.models import Alert

register = template.Library()


@register.simple_tag
def open_alerts(project: Project) -> list[Alert]:
    """The alerts of a project that nobody has acknowledged, the latest first; a handful of them."""
    return list(Alert.objects.filter(project=project, acknowledged_at=None).order_by("-raised_at")[:5])
