"""Looking a model up by the name that a request gives it: an alias, or one of its dated snapshots."""

from dataclasses import dataclass
from datetime import date

from django.db.models import FilteredRelation, Q

from accounts.remembered import remembered
from jobs.models import LanguageModel, ModelSnapshot


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model as it was asked for. `snapshot` is None when the alias was named."""

    model: LanguageModel
    snapshot: ModelSnapshot | None = None

    @property
    def name(self) -> str:
        """The name as asked."""
        return self.snapshot.name if self.snapshot else self.model.name

    @property
    def max_output_tokens(self) -> int:
        """Completion tokens at most, reasoning included; a snapshot may have a maximum of its own."""
        own = self.snapshot.max_output_tokens if self.snapshot else None
        return self.model.max_output_tokens if own is None else own

    @property
    def shutdown_on(self) -> date | None:
        """The first day on which the provider serves it no more; a snapshot may have a day of its own."""
        own = self.snapshot.shutdown_on if self.snapshot else None
        return own or self.model.shutdown_on

    def is_shut_down_on(self, day: date) -> bool:
        return self.shutdown_on is not None and day >= self.shutdown_on


@remembered()
def find(name: str) -> CatalogueEntry | None:
    """The model or snapshot of that name, in one query; None where the catalogue has neither."""
    if not name.isprintable():
        return None  # PostgreSQL takes neither NUL nor half a surrogate pair, and no model is called so
    found = (
        LanguageModel.objects.annotate(asked=FilteredRelation("snapshots", condition=Q(snapshots__name=name)))
        .filter(Q(name=name) | Q(asked__name=name))
        .select_related("asked")  # type: ignore[misc]  # django-stubs does not follow filtered relations
        .first()
    )
    if found is None:
        return None
    # An alias is the answer even if an administrator gave one of its snapshots the same name.
    return CatalogueEntry(found, None if found.name == name else found.asked)


def family_of(name: str) -> str:
    """The name under which the rate limits of a model are kept; the model's own where the catalogue has it no more."""
    entry = find(name)
    return entry.model.family if entry else name


def provider_price_names(entry: CatalogueEntry) -> tuple[str, ...]:
    """The names under which to look for a price, in this order: the snapshot's own price goes before its model's."""
    return (entry.model.name,) if entry.snapshot is None else (entry.snapshot.name, entry.model.name)
