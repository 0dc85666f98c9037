"""The audit trail is sealed: whatever is done to it behind the door is found, whoever writes at the same time."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, connections, transaction
from django.test import RequestFactory

from accounts import audit, audit_verification
from accounts.audit import SERVICE, Who, record
from accounts.audit_chain import GENESIS, NO_ORGANIZATION, Anchor, Line, first_break, seal
from accounts.models import AuditAction, AuditEntry, AuditTrail, Organization
from billing import books

TAMPERS = 5000
AT = datetime(2026, 11, 1, 12, tzinfo=UTC)


# --- In memory --------------------------------------------------------------------------------------------------------
def trail_of(count: int) -> list[tuple[Line, str]]:
    trail, previous, written = uuid4(), GENESIS, []
    for number in range(1, count + 1):
        line = Line(
            trail=trail,
            sequence=number,
            id=uuid4(),
            action="updated",
            subject_type="quota",
            subject_id=str(uuid4()),
            subject_name=f"quota {number}",
            actor=number if number % 3 else None,
            api_key=uuid4() if number % 4 == 0 else None,
            actor_name="somebody",
            address="10.0.0.7" if number % 2 else None,
            request_id=f"req_{number}",
            before={"limit": "10.5"},
            after={"limit": "20.5", "is_hard": True},
            reason="",
            at=AT + timedelta(seconds=number),
        )
        previous = seal(line, previous)
        written.append((line, previous))
    return written


def another(dice: random.Random, value):
    """A value of the same kind that is not the same."""
    match value:
        case None:
            return 7
        case bool():
            return not value
        case int():
            return value + dice.choice([-1, 1, 2**31])
        case UUID():
            return UUID(int=value.int ^ (1 << dice.randrange(128)))
        case datetime():
            return value + timedelta(microseconds=dice.choice([-1, 1]))
        case dict():
            return {**value, dice.choice(["limit", "more"]): dice.choice(["10.50", None, 1])}
        case str():
            place = dice.randrange(len(value) + 1)
            return value[:place] + "x" + value[place:]
    raise AssertionError(value)


def tampered(dice: random.Random, written: list[tuple[Line, str]]) -> list[tuple[Line, str]]:
    done = list(written)
    place = dice.randrange(len(done))
    line, sealed = done[place]
    match dice.choice(["field", "seal", "remove", "repeat", "swap", "cut", "reseal"]):
        case "field":
            name = dice.choice([field.name for field in fields(line) if field.name != "address"])
            done[place] = replace(line, **{name: another(dice, getattr(line, name))}), sealed
        case "seal":
            digit = dice.randrange(64)
            done[place] = line, sealed[:digit] + ("0" if sealed[digit] != "0" else "1") + sealed[digit + 1 :]
        case "remove":
            del done[place]
        case "repeat":
            done.insert(place, done[place])
        case "swap":
            other = (place + 1) % len(done)
            done[place], done[other] = done[other], done[place]
        case "cut":
            done = done[:place]
        case "reseal":  # by somebody who knows how, up to the end but for the head
            done[place] = replace(line, reason="because"), sealed
            for at in range(place, len(done)):
                before = done[at - 1][1] if at else GENESIS
                done[at] = done[at][0], seal(done[at][0], before)
    return done


def test_every_random_tamper_is_found():
    written = trail_of(12)
    end = {"head_sequence": 12, "head_seal": written[-1][1]}
    assert first_break(written, **end) is None
    dice = random.Random(7)
    unfound = [done for _ in range(TAMPERS) if first_break(done := tampered(dice, written), **end) is None]
    assert unfound == []


def test_an_end_that_was_cut_off_with_the_head_set_back_is_found_by_an_anchor():
    written = trail_of(12)
    shorter, anchor = written[:9], Anchor(11, written[10][1])
    end = {"head_sequence": 9, "head_seal": shorter[-1][1]}
    assert first_break(shorter, **end) is None
    assert first_break(shorter, **end, anchor=anchor).sequence == 10
    assert first_break(written, head_sequence=12, head_seal=written[-1][1], anchor=anchor) is None


def test_a_trail_that_was_written_anew_is_found_by_an_anchor():
    written, anew = trail_of(12), trail_of(12)
    found = first_break(anew, head_sequence=12, head_seal=anew[-1][1], anchor=Anchor(5, written[4][1]))
    assert found.sequence == 5


# --- In the database --------------------------------------------------------------------------------------------------
def note(organization: Organization | None = None, **given) -> AuditEntry:
    given = {"by": SERVICE, "name": "daily", **given}
    owner = organization.pk if organization else None
    with transaction.atomic():
        return record(AuditAction.UPDATED, "quota", uuid4(), organization_id=owner, **given)


@pytest.fixture
def trails(alice, bob):
    for number in range(4):
        note(alice.organization, by=Who(user=alice.owner, api_key=alice.api_key.api_key, address="2001:DB8::1"))
        note(bob.organization, before={"limit": Decimal("1.50")}, after={"limit": Decimal("2")})
        note(None, reason=f"price {number}\x00")
    return alice, bob


def breaks(anchors=None) -> list[str]:
    return [one.found.reason for one in audit_verification.verify(anchors) if one.found]


def test_each_organization_has_a_trail_without_gaps_and_so_has_what_belongs_to_none(trails):
    alice, bob = trails
    for owner in (alice.organization, bob.organization, None):
        rows = AuditEntry.objects.filter(organization=owner).order_by("sequence")
        assert [row.sequence for row in rows] == [1, 2, 3, 4]
    assert breaks() == []
    assert set(AuditTrail.objects.values_list("verified_entries", "break_found")) == {(4, "")}


def test_what_is_read_back_is_what_was_sealed(alice):
    entry = note(
        alice.organization,
        by=Who(user=alice.owner, address="::ffff:10.0.0.1", request_id="req_1\x00"),
        before={"Ümlaut": {"b": 1, "a": [None, True]}, "amount": Decimal("1E-12"), "at": AT},
        after={"id": uuid4(), "half": "\ud800"},
        reason="x" * 2000,
    )
    assert (entry.before["amount"], len(entry.reason)) == ("0.000000000001", 1000)
    assert breaks() == []


def test_a_float_is_refused(alice):
    with pytest.raises(TypeError, match="float"):
        note(alice.organization, after={"limit": 0.1})
    assert not AuditEntry.objects.exists()


TAMPERING = [
    "UPDATE accounts_auditentry SET actor_name = 'nobody' WHERE sequence = 2",
    "UPDATE accounts_auditentry SET address = '10.9.9.9' WHERE sequence = 4",
    "UPDATE accounts_auditentry SET before = '{}' WHERE sequence = 1",
    "UPDATE accounts_auditentry SET at = at + interval '1 microsecond' WHERE sequence = 3",
    "DELETE FROM accounts_auditentry WHERE sequence = 1",
    "DELETE FROM accounts_auditentry WHERE sequence = 4",
    "UPDATE accounts_auditentry SET sequence = 9 WHERE sequence = 4",
    "UPDATE accounts_audittrail SET head_sequence = 3",
    "UPDATE accounts_audittrail SET head_seal = repeat('0', 64)",
    "DELETE FROM accounts_audittrail",
    "UPDATE accounts_auditentry SET organization_id = gen_random_uuid() WHERE sequence = 4",
]


def run(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def unguarded(trails):
    run("GRANT UPDATE, DELETE ON accounts_auditentry, accounts_audittrail TO CURRENT_USER")
    run("SET session_replication_role = replica")
    yield
    run("SET session_replication_role = DEFAULT")


@pytest.mark.parametrize("statement", TAMPERING)
def test_what_is_done_behind_the_door_is_found(unguarded, statement):
    assert breaks() == []
    run(statement)
    assert breaks() != []


def test_a_trail_that_lost_its_end_and_its_head_is_found_by_what_was_kept_elsewhere(unguarded, tmp_path, alice):
    printed = StringIO()
    call_command("verify_audit", anchor=True, stdout=printed)
    kept = tmp_path / "anchor.json"
    kept.write_text(printed.getvalue())
    assert json.loads(printed.getvalue())[str(NO_ORGANIZATION)]["sequence"] == 4
    note(alice.organization)
    call_command("verify_audit", against=kept, stdout=StringIO())
    run("DELETE FROM accounts_auditentry WHERE organization_id IS NULL AND sequence = 4")
    run(
        "UPDATE accounts_audittrail SET head_sequence = 3, head_seal = entry.seal FROM accounts_auditentry entry "
        "WHERE entry.sequence = 3 AND entry.organization_id IS NULL AND accounts_audittrail.id = "
        f"'{NO_ORGANIZATION}'"
    )
    call_command("verify_audit", stdout=StringIO())
    said = StringIO()
    with pytest.raises(SystemExit):
        call_command("verify_audit", against=kept, stdout=StringIO(), stderr=said)
    assert "no organization: the trail ends at entry 3, and it had 4 once" in said.getvalue()


def test_the_command_names_the_first_difference(unguarded, alice):
    run(
        "UPDATE accounts_auditentry SET reason = 'x' "
        f"WHERE sequence > 1 AND organization_id = '{alice.organization.pk}'"
    )
    said, errors = StringIO(), StringIO()
    with pytest.raises(SystemExit):
        call_command("verify_audit", anchor=True, stdout=said, stderr=errors)
    assert errors.getvalue().startswith("alice: entry 2 is not what was written")
    assert said.getvalue() == ""
    assert AuditTrail.objects.get(pk=alice.organization.pk).break_found.startswith("entry 2")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_auditentry SET reason = reason",
        "DELETE FROM accounts_auditentry",
        "TRUNCATE accounts_auditentry",
        "DELETE FROM accounts_audittrail",
        "TRUNCATE accounts_audittrail",
    ],
)
def test_rights_and_triggers_each_refuse_alone(trails, statement):
    table = statement.split()[2] if statement.startswith("DELETE") else statement.split()[1]
    place = transaction.savepoint()
    run("SET session_replication_role = replica")
    with pytest.raises(DatabaseError, match="permission denied"):
        run(statement)
    run("SET session_replication_role = DEFAULT")
    run(f"GRANT UPDATE, DELETE, TRUNCATE ON {table} TO CURRENT_USER")
    with pytest.raises(DatabaseError, match="append-only"):
        run(statement)
    transaction.savepoint_rollback(place)


def test_an_entry_outlives_what_it_names(alice, bob):
    note(alice.organization, by=Who(user=bob.owner))
    alice.api_key.api_key.delete()
    bob.owner.memberships.all().delete()
    bob.api_key.api_key.delete()
    name = str(bob.owner)
    bob.owner.delete()
    assert AuditEntry.objects.get().actor_name == name
    assert breaks() == []


# --- At the same time -------------------------------------------------------------------------------------------------
def in_threads(work, count: int) -> None:
    def one(number: int) -> None:
        try:
            work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(count)))


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_who_write_at_the_same_time_leave_no_gap_and_do_not_wait_for_each_other_in_a_circle(alice, bob):
    """Acts lock books first, in order, and trails after them, in order."""
    both = [alice.organization, bob.organization]

    def act(number: int) -> None:
        with transaction.atomic():
            if number % 2:
                books.lock([organization.pk for organization in both])
            for organization in audit.in_order(both if number % 3 else reversed(both)):
                note(organization)

    in_threads(act, 30)
    assert AuditEntry.objects.count() == 60
    assert breaks() == []


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_trail_that_is_new_is_made_once(alice):
    in_threads(lambda number: note(alice.organization), 8)
    assert AuditTrail.objects.get(pk=alice.organization.pk).head_sequence == 8
    assert breaks() == []


# --- From where -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("behind_proxy", "forwarded", "address"),
    [
        (False, "203.0.113.9", "192.0.2.1"),
        (True, None, "192.0.2.1"),
        (True, "203.0.113.9", "203.0.113.9"),
        (True, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (True, "198.51.100.1,203.0.113.9:4711", "203.0.113.9"),
        (True, "[2001:db8::7]:443", "2001:db8::7"),
        (True, "2001:DB8::7", "2001:db8::7"),
        (True, "unknown", "192.0.2.1"),
    ],
)
def test_the_address_is_what_the_proxy_saw_and_not_what_the_client_claims(settings, behind_proxy, forwarded, address):
    settings.BEHIND_PROXY = behind_proxy
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR="192.0.2.1")
    assert audit.address_of(request) == address
