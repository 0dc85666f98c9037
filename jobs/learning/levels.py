"""Answers what a call will probably come to, by the calls that were most like it."""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.db.models import Q

from accounts.models import Project
from accounts.remembered import remembered
from billing.pricing import MILLION, PriceTerms
from jobs import catalogue
from jobs.learning.curves import Curve
from jobs.learning.expectation import Expectation
from jobs.learning.kinds import Kind, Reading, whole_usd
from jobs.models import Distribution

# From the calls that are most like it to those that are least: of the project or of the whole organization, and of the
# prompt's class or of all.
CLASS, PROJECT, ORGANIZATION_CLASS, ORGANIZATION = "class", "project", "organization_class", "organization"
LEVELS = (CLASS, PROJECT, ORGANIZATION_CLASS, ORGANIZATION)
# As few calls say the 99th percentile, and the cap that one call in a hundred needs more than.
ENOUGH = 100
# Where no level has enough, the one with the most answers, if it has so many; that is known to half a tenth or so.
AT_LEAST = 20
# What is learnt changes slowly, and a guess may be a minute old.
REMEMBERED_SECONDS = 60.0
P50, P90, P99 = Decimal("0.5"), Decimal("0.9"), Decimal("0.99")
# Of a model that the catalogue has no more.
UNKNOWN_CEILING = 128_000


@dataclass(frozen=True, slots=True)
class Learnt:
    """What is known of one kind of call, ready to be asked."""

    level: str
    calls: int
    completion: Curve
    reasoning: Curve
    visible: Curve
    reading: Reading
    # Of whole completions; None where too few calls say them.
    quantiles: tuple[int | None, ...]

    @classmethod
    def of(cls, level: str, row: Distribution) -> "Learnt":
        kind = Kind.read_back(row.learnt)
        completion, reasoning, visible = kind.curves(ceiling_of(row.model))
        quantiles = tuple(completion.known_at(share) for share in (P50, P90, P99))
        return cls(level, row.calls, completion, reasoning, visible, Reading.of(kind), quantiles)

    def expectation(self, price: PriceTerms) -> Expectation:
        """The same at a price."""
        written = self.completion.mean()
        reasoning = min(self.reasoning.mean(), written)
        return Expectation(
            calls=self.calls,
            level=self.level,
            mean_reasoning_tokens=reasoning,
            mean_visible_tokens=written - reasoning,
            mean_cost_usd=whole_usd((self.reading.cost_usd(price), written * price.output / MILLION)),
            at=self.completion.at,
            over=self.completion.over,
            reasoning_over=self.reasoning.over,
            safe_cap=self.completion.cap,
            mean_within=self.completion.mean,
            known_share=self.completion.known_share,
        )


def expectation_for(
    project: Project, model: str, effort: str, prompt_class: str, price: PriceTerms
) -> Expectation | None:
    """What a call is expected to come to; None where too few like it were made.

    `effort`: as asked, empty where none was. Remembered for a minute by each process.
    """
    learnt = learnt_for(project.organization_id, project.pk, model, effort, prompt_class)
    return learnt.expectation(price) if learnt else None


@remembered(REMEMBERED_SECONDS)
def learnt_for(organization_id: UUID, project_id: UUID, model: str, effort: str, prompt_class: str) -> Learnt | None:
    """The most particular level with enough calls; one query."""
    rows = Distribution.objects.filter(
        Q(project=project_id) | Q(project__isnull=True),
        organization=organization_id,
        model=model,
        reasoning_effort=effort,
        prompt_class__in={prompt_class, ""},
    )
    found = {level_of(row): row for row in rows}
    by_level = [(level, found[level]) for level in LEVELS if level in found]
    for level, row in by_level:
        if row.calls >= ENOUGH:
            return Learnt.of(level, row)
    level, row = max(by_level, key=lambda pair: pair[1].calls, default=(ORGANIZATION, Distribution()))
    return Learnt.of(level, row) if row.calls >= AT_LEAST else None


def level_of(row: Distribution) -> str:
    if row.project_id is None:
        return ORGANIZATION_CLASS if row.prompt_class else ORGANIZATION
    return CLASS if row.prompt_class else PROJECT


def ceiling_of(model: str) -> int:
    """All that a call of the model can make."""
    entry = catalogue.find(model)
    return entry.max_output_tokens if entry else UNKNOWN_CEILING
