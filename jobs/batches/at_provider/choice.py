"""Which lines go through the provider's batch endpoint: by their project, model, price, window and tier."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from accounts.models import Project
from billing.errors import UnknownPrice
from billing.models import Price, ServiceTier
from billing.prices import price_on
from jobs import catalogue
from jobs.models import Batch
from jobs.models.catalogue import Endpoint

# What the provider promises an answer within (batch guide, 2025); nothing shorter can be asked of it.
WINDOW = timedelta(hours=24)
# Lines are not sent there any more when less than this is left: they run as ordinary jobs, and so in time.
NEEDED = WINDOW / 2
# A line that the provider left without an answer so often runs as an ordinary job.
MOST_RETURNS = 2


@dataclass(frozen=True, slots=True)
class Prices:
    """What a model's tokens cost in a batch at the provider, and otherwise."""

    batch: Price
    standard: Price


def may_run_there(project: Project) -> bool:
    """Whether lines of a project may be sent there at all: its people allow it, and keep content themselves.

    What the provider keeps in files is not erased a minute after it was fetched.
    """
    return project.may_batch_at_provider and project.content_retention_days != 0


def prices_there(project: Project, model: str, now: datetime) -> Prices | None:
    """Both prices of a model that the provider takes batches of; None where it takes none, or a price is not known."""
    entry = catalogue.find(model)
    if entry is None or not {Endpoint.CHAT, Endpoint.BATCH} <= set(entry.model.endpoints):
        return None
    names, day = catalogue.provider_price_names(entry), project.organization.terms_date(now)
    try:
        return Prices(price_on(names, ServiceTier.BATCH, day), price_on(names, ServiceTier.STANDARD, day))
    except UnknownPrice:
        return None


def prices_for(batch: Batch, now: datetime) -> Prices | None:
    """The prices of a batch whose lines are to be sent there now; None where they run as ordinary jobs."""
    if not batch.at_provider or not may_run_there(batch.project) or batch.expires_at - now < NEEDED:
        return None
    return prices_there(batch.project, batch.model, now)
