"""What a person changes on the pages of a model is one entry of the audit trail, in the transaction of the change.

Pages with a form, additions and deletions are covered for every model whose admin is built on `Audited`; an action or a
page of its own calls `audit`, or the service that it calls records it. Entries are written last, because trails are
locked after books.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib.admin.actions import delete_selected
from django.contrib.admin.utils import unquote
from django.db import transaction
from django.db.models import Field, ForeignKey, Model, QuerySet
from django.forms.models import _get_foreign_key
from django.http import HttpRequest, HttpResponse

from accounts import audit
from accounts.models import AuditAction

# Fields whose content no entry repeats: that they changed is all it says.
SECRET = re.compile(r"password|secret|encrypted|hash|^key$")


@dataclass(slots=True)
class Snapshot:
    """A row as it is stored: its fields, its many-to-many rows by id, and the rows that its page shows within it."""

    model: type[Model]
    fields: dict[str, Any] = field(default_factory=dict)
    many: dict[str, list[Any]] = field(default_factory=dict)
    inlines: dict[tuple[str, Any], tuple[str, "Snapshot"]] = field(default_factory=dict)


def snapshot(row: Model, inlines: Iterable[tuple[type[Model], str]] = ()) -> Snapshot:
    """A stored row, read now; with the rows of these models that point to it by these fields."""
    stored = type(row)._base_manager.get(pk=row.pk)
    taken = Snapshot(type(row), {each.name: getattr(stored, each.attname) for each in _kept(type(row))})
    for many in type(row)._meta.many_to_many:
        taken.many[many.name] = sorted(getattr(stored, many.name).values_list("pk", flat=True))
    for model, points_by in inlines:
        word = audit.subject_type(model)
        for own in model._base_manager.filter(**{points_by: row.pk}).order_by("pk"):
            taken.inlines[word, own.pk] = (f"{word} {own}", snapshot(own))
    return taken


def changes(before: Snapshot | None, after: Snapshot | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What differs, as it was and as it is; of a new or a deleted row all that is not empty."""
    was, became = _changed_fields(before, after)
    for place in sorted({*(before.inlines if before else ()), *(after.inlines if after else ())}, key=str):
        old, new = (taken.inlines.get(place) if taken else None for taken in (before, after))
        own_was, own_became = changes(old[1] if old else None, new[1] if new else None)
        for own, said, told in ((old, was, own_was), (new, became, own_became)):
            if own and (own_was or own_became):
                said[(old or own)[0]] = told
    return was, became


def _changed_fields(before: Snapshot | None, after: Snapshot | None) -> tuple[dict[str, Any], dict[str, Any]]:
    was: dict[str, Any] = {}
    became: dict[str, Any] = {}
    taken = [(each, said) for each, said in ((before, was), (after, became)) if each]
    is_whole = len(taken) == 1  # of a row that is new or gone, what is empty says nothing
    model = taken[0][0].model
    for each in _kept(model):
        values = [one.fields[each.name] for one, _ in taken]
        if (is_whole and values[0] in (None, "", [], {})) or (not is_whole and values[0] == values[1]):
            continue
        for (_, said), value in zip(taken, values, strict=True):
            said[each.name] = _shown(each, value)
    for many in model._meta.many_to_many:
        keys = [one.many[many.name] for one, _ in taken]
        if (is_whole and not keys[0]) or (not is_whole and keys[0] == keys[1]):
            continue
        for (_, said), own in zip(taken, keys, strict=True):
            said[many.name] = _names(many.related_model, own)
    return was, became


def _kept(model: type[Model]) -> list["Field[Any, Any]"]:
    """The fields that people decide: no keys of rows, and no instants that a row sets itself."""
    return [
        each
        for each in model._meta.concrete_fields
        if not each.primary_key and not getattr(each, "auto_now", False) and not getattr(each, "auto_now_add", False)
    ]


def _shown(each: "Field[Any, Any]", value: Any) -> Any:
    """A value as an entry keeps it; a row that is pointed to by its name and id, and of a secret that there is one."""
    if isinstance(each, ForeignKey) and value is not None:
        return _names(each.related_model, [value])[0]
    if SECRET.search(each.name):
        return audit.HIDDEN if value else ""
    return audit.plain(value)


def _names(model: Any, keys: list[Any]) -> list[str]:
    found = model._base_manager.in_bulk(keys)
    return [f"{found[key]} ({key})" if key in found else str(key) for key in keys]


class Audited:
    """A model's admin whose changes are kept by the audit trail."""

    model: Any
    # Where forms and deletions go through a service that records them, whoever asks it. The page adds no second entry,
    # and locks no row before the service takes its locks.
    service_records = False

    def audit(
        self,
        request: HttpRequest,
        rows: Iterable[Model],
        action: AuditAction = AuditAction.UPDATED,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> None:
        """An entry for each row on which an action did the same; belongs into the action's transaction."""
        by = audit.who(request)
        for row in audit.in_order(rows):
            audit.record_about(row, action, by=by, before=before, after=after, reason=reason)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        show = super().changeform_view  # type: ignore[misc]
        if request.method != "POST":
            shown: HttpResponse = show(request, object_id, form_url, extra_context)
            return shown
        with transaction.atomic():
            if object_id is not None and not self.service_records:
                self._take(request, object_id)
            done: HttpResponse = show(request, object_id, form_url, extra_context)
        return done

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        if not self.service_records:
            _, after = changes(None, snapshot(obj, self._inlines(request, obj)))
            audit.record_about(obj, AuditAction.CREATED, by=audit.who(request), after=after)
        return super().log_addition(request, obj, message)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Of a page with a form; an action, which has no row taken before, records what it does by `audit`."""
        taken: Snapshot | None = _taken(request).pop(obj.pk, None)
        if taken:
            before, after = changes(taken, snapshot(obj, self._inlines(request, obj)))
            if before or after:
                audit.record_about(obj, AuditAction.UPDATED, by=audit.who(request), before=before, after=after)
        return super().log_change(request, obj, message)  # type: ignore[misc]

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Called before the rows go: what they were is taken, and recorded when they are gone."""
        for obj in [] if self.service_records else audit.in_order(queryset):
            before, _ = changes(snapshot(obj, self._inlines(request, obj)), None)
            owner = audit.organization_of(obj)
            _gone(request).append((audit.subject_type(type(obj)), obj.pk, str(obj), owner, before))
        return super().log_deletions(request, queryset)  # type: ignore[misc]

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        with transaction.atomic():
            page: HttpResponse = super().delete_view(request, object_id, extra_context)  # type: ignore[misc]
            self._record_deletions(request)
        return page

    def response_action(self, request: HttpRequest, queryset: "QuerySet[Any]") -> Any:
        """Deleting what was chosen is one transaction; other actions have their own."""
        if delete_selected.__name__ not in request.POST.getlist("action"):
            return super().response_action(request, queryset)  # type: ignore[misc]
        with transaction.atomic():
            response = super().response_action(request, queryset)  # type: ignore[misc]
            self._record_deletions(request)
        return response

    def _record_deletions(self, request: HttpRequest) -> None:
        by = audit.who(request)
        for word, key, name, owner, before in _gone(request):
            audit.record(AuditAction.DELETED, word, key, by=by, organization_id=owner, name=name, before=before)

    def _take(self, request: HttpRequest, object_id: str) -> None:
        """Locks the row, so that nobody changes it between the entry's before and its after, and takes it."""
        row = self.get_object(request, unquote(object_id))  # type: ignore[attr-defined]
        if row is None or not self.has_change_permission(request, row):  # type: ignore[attr-defined]
            return
        # Not its key: a call that is being reserved on a quota may go on.
        locked = self.model._base_manager.select_for_update(of=("self",), no_key=True).filter(pk=row.pk)
        if locked.exists():
            _taken(request)[row.pk] = snapshot(row, self._inlines(request, row))

    def _inlines(self, request: HttpRequest, obj: Model) -> list[tuple[type[Model], str]]:
        """The models whose rows can be changed within this page, and by which field each points to its owner."""
        instances = self.get_inline_instances(request, obj)  # type: ignore[attr-defined]
        changing = [one for one in instances if one.has_change_permission(request, obj)]
        return [(one.model, _get_foreign_key(self.model, one.model, fk_name=one.fk_name).name) for one in changing]


def _taken(request: HttpRequest) -> dict[Any, Snapshot]:
    """Rows as they were before this request changes them."""
    found: dict[Any, Snapshot] = request.__dict__.setdefault("audit_taken", {})
    return found


def _gone(request: HttpRequest) -> list[tuple[str, Any, str, UUID | None, dict[str, Any]]]:
    """What this request deletes: the word for it, its id, name and organization, and what it was."""
    found: list[tuple[str, Any, str, UUID | None, dict[str, Any]]] = request.__dict__.setdefault("audit_gone", [])
    return found
