"""What is looked up once in a round for all of its jobs: who they belong to, tiers and rate limits, models, prices."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from accounts.dated import in_force
from accounts.errors import DomainError
from accounts.models import Organization, Project, ProjectRateLimit, RateLimit
from accounts.tiers import Standing, project_rate_limits, standings
from billing.models import Price, ServiceTier
from billing.money import usd
from billing.prices import price_on, terms_of
from billing.pricing import bound_usd
from jobs import catalogue, limiter
from jobs.credentials import accesses_of
from jobs.dispatch.lines import Candidate, Line
from jobs.errors import MaxCostTooSmall


@dataclass(frozen=True, slots=True)
class Terms:
    """What a job's call is of and may cost, by what is in force now."""

    model: str
    price: Price
    amount_usd: Decimal


@dataclass(slots=True)
class Facts:
    """As of one round: nothing is remembered for the next one, so that a change counts at once."""

    now: datetime
    projects: dict[UUID, Project] = field(default_factory=dict)
    _accounts: dict[UUID, str] = field(default_factory=dict)
    _standings: dict[UUID, Standing] = field(default_factory=dict)
    _overrides: dict[tuple[UUID, str], ProjectRateLimit] = field(default_factory=dict)
    _limits: dict[str, list[RateLimit]] = field(default_factory=dict)
    _entries: dict[str, catalogue.CatalogueEntry | None] = field(default_factory=dict)
    _prices: dict[tuple[str, str, date], Price | DomainError] = field(default_factory=dict)

    def learn(self, lines: Iterable[Line]) -> None:
        """Looks up what these queues' projects and families need, all in as many queries as for one."""
        lines = [line for line in lines if line.project.id not in self.projects or line.family not in self._limits]
        ids = {line.project.id for line in lines} - self.projects.keys()
        if ids:
            found = Project.objects.select_related("organization").in_bulk(list(ids))
            self.projects |= found
            accesses = accesses_of(found.values()).items()
            self._accounts |= {pk: limiter.account_of(access) for pk, access in accesses}
            organizations = {project.organization_id: project.organization for project in found.values()}
            new = [row for pk, row in organizations.items() if pk not in self._standings]
            self._standings |= standings(new, self.now) if new else {}
            self._overrides |= project_rate_limits(found)
        families = {line.family for line in lines} - self._limits.keys()
        if families:
            self._limits |= {family: [] for family in families}
            for row in RateLimit.objects.filter(model__in=families):
                self._limits[row.model].append(row)

    def account(self, line: Line) -> str:
        """The account whose limits the calls of a queue count against."""
        return self._accounts[line.project.id]

    def limits(self, line: Line) -> RateLimit | None:
        """The rate limits of a queue's family at its organization's tier; None where no row says them."""
        organization = self._organization(line.project.id)
        tier = self._standings[organization.pk].tier.number
        return in_force([row for row in self._limits[line.family] if row.tier == tier], self._day(organization))

    def override(self, line: Line) -> ProjectRateLimit | None:
        """What the project of a queue may send of its own to the queue's family, where somebody has said so."""
        return self._overrides.get((line.project.id, line.family))

    def terms(self, candidate: Candidate) -> Terms:
        """Raises a DomainError where the job can never start.

        Its deadline has passed, or its model, its price or its own maximum forbids it by now.
        """
        if candidate.deadline is not None and candidate.deadline <= self.now:
            raise DomainError("The deadline passed while the job was waiting to start.", code="deadline_exceeded")
        entry = self._entry(candidate.model)
        if entry is None:
            raise DomainError(f"The model '{candidate.model}' has left the catalogue.", code="model_not_found")
        price = self._price(entry, candidate)
        tokens = {"input_tokens": candidate.bound_input_tokens, "output_tokens": candidate.bound_output_tokens}
        amount_usd = bound_usd(**tokens, price=terms_of(price))
        if candidate.max_cost_usd is not None and amount_usd > candidate.max_cost_usd:
            raise MaxCostTooSmall(
                f"At the price now in force the call can cost {usd(amount_usd)} USD, more than its max_cost_usd of "
                f"{usd(candidate.max_cost_usd)}."
            )
        return Terms(entry.model.name, price, amount_usd)

    def _entry(self, model: str) -> catalogue.CatalogueEntry | None:
        if model not in self._entries:
            self._entries[model] = catalogue.find(model)
        return self._entries[model]

    def _price(self, entry: catalogue.CatalogueEntry, candidate: Candidate) -> Price:
        day = self._day(self._organization(candidate.project_id))
        tier = candidate.service_tier
        if tier == ServiceTier.BATCH:
            tier = ServiceTier.STANDARD  # it was in a batch at the provider, and is now called as any other
        key = (candidate.model, tier, day)
        if key not in self._prices:
            try:
                self._prices[key] = price_on(catalogue.provider_price_names(entry), tier, day)
            except DomainError as unknown:
                self._prices[key] = unknown
        found = self._prices[key]
        if isinstance(found, DomainError):
            raise found
        return found

    def _organization(self, project_id: UUID) -> Organization:
        return self.projects[project_id].organization

    def _day(self, organization: Organization) -> date:
        return organization.terms_date(self.now)
