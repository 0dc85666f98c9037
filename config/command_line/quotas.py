"""`bursar quotas`: list, set and delete the limits that people configure."""

from argparse import Namespace
from decimal import Decimal
from typing import Any
from uuid import uuid4

from config.command_line.api import Api, connect, segment
from config.command_line.endings import Ending, UsageError
from config.command_line.limits import gauge, written
from config.command_line.money import amount, at, instant
from config.command_line.terminal import Column, Terminal

COLUMNS = (
    Column("ID"),
    Column("SCOPE"),
    Column("OWNER", flexible=True),
    Column("MODEL", flexible=True),
    Column("WINDOW"),
    Column("LIMIT", right=True),
    Column("SPENT", right=True),
    Column("HELD", right=True),
    Column(""),
    Column("EXPIRES"),
)


def run(options: Namespace, terminal: Terminal) -> int:
    """The quotas, or the one that was set, on stdout."""
    with connect(options, terminal) as api:
        if options.action == "list":
            return _list(api, options, terminal)
        if options.action == "delete":
            if not options.id:
                raise UsageError("Name the quota by its id: bursar quotas delete ID.")
            api.delete(f"quotas/{segment(options.id)}")
            terminal.say(f"{options.id} binds no more.")
            return Ending.OK
        quota = _set(api, options)
    _show(terminal, [quota])
    return Ending.OK


def _list(api: Api, options: Namespace, terminal: Terminal) -> int:
    query = {"scope": options.scope, "in_force": "false" if options.all else None}
    found = list(api.rows("quotas", query))
    _show(terminal, found)
    return Ending.OK


def _show(terminal: Terminal, quotas: list[dict[str, Any]]) -> None:
    if terminal.is_json:
        for quota in quotas:
            terminal.json(quota)
        return
    empty = "No quota binds; the usage tier does (`bursar limits`). `bursar quotas set` makes one."
    terminal.table(COLUMNS, [_row(quota) for quota in quotas], empty=empty)


def _row(quota: dict[str, Any]) -> list[str]:
    measure, spent, held = quota["measure"], quota["spent"], quota["held"]
    used = Decimal(spent or 0) + Decimal(held or 0)
    limit = Decimal(quota["limit"]) + Decimal(quota["raised_by"])
    return [
        *(quota["id"], quota["scope"], quota["owner"]["name"], quota["model"] or "-"),
        quota["window"] + ("" if quota["is_hard"] else ", soft") + (f", risk {quota['risk']}" if quota["risk"] else ""),
        written(measure, str(limit)),
        *("-" if value is None else written(measure, value) for value in (spent, held)),
        "" if spent is None else gauge(used, limit),
        at(quota["expires_at"]),
    ]


def _set(api: Api, options: Namespace) -> dict[str, Any]:
    """Changes the quota that is meant, or makes it."""
    changes = _changes(options)
    if options.id:
        if options.scope or options.owner or options.measure or options.window or options.model:
            raise UsageError("Whom a quota binds and what it counts stays as it is: make another one for that.")
        return dict(api.patch(f"quotas/{segment(options.id)}", changes))
    if not options.scope:
        raise UsageError("Name the quota by its id, or --scope and, but for an organization, --owner.")
    wanted = {
        "scope": options.scope,
        "measure": options.measure or "usd",
        "window": options.window or "month",
        "model": options.model,
    }
    same = [quota for quota in api.rows("quotas", {"scope": options.scope}) if _is(quota, wanted, options.owner)]
    if len(same) > 1:
        raise UsageError(f"Several quotas are like this; name one by its id: {', '.join(one['id'] for one in same)}")
    if same:
        return dict(api.patch(f"quotas/{segment(same[0]['id'])}", changes))
    if "limit" not in changes:
        raise UsageError("There is no quota like this yet; a new one takes --limit.")
    body = {**wanted, **changes, **({"owner_id": options.owner} if options.owner else {})}
    return dict(api.post("quotas", body, key=f"bursar-{uuid4()}"))


def _changes(options: Namespace) -> dict[str, Any]:
    """What is to be set, by the names of the API. Raises UsageError where that is nothing."""
    changes = {
        "limit": options.limit and amount(options.limit, "--limit"),
        "risk": options.risk and amount(options.risk, "--risk"),
        "is_hard": None if options.soft is None else not options.soft,
        "expires_at": options.expires and instant(options.expires, "--expires"),
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes:
        raise UsageError("Say what to set: --limit, --risk, --soft, --hard or --expires.")
    return changes


def _is(quota: dict[str, Any], wanted: dict[str, Any], owner: str | None) -> bool:
    is_owner = wanted["scope"] == "organization" or quota["owner"]["id"] == owner
    return is_owner and all(quota[name] == value for name, value in wanted.items())
