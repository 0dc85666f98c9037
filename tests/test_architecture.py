"""Promises about the shape of the code, which no single test of a part would miss."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.db import models

from accounts.models import Organization
from billing.rollups import ROLLUPS

CHECKOUT = Path(__file__).resolve().parents[1]
APPS = ("accounts", "billing", "jobs", "config")
GENERATED = ("migrations",)

# Tables that belong to everybody, and why. Every other one leads to one organization.
SHARED_TABLES = {
    "accounts.Organization": "is the tenant",
    "accounts.User": "a person may be a member of several organizations",
    "accounts.AuditEntry": "a price or a failed sign-in belongs to no organization",
    "accounts.AuditTrail": "as its entries, and it outlives its organization",
    "accounts.UsageTier": "the provider's terms, the same for all",
    "accounts.RateLimit": "the provider's terms, the same for all",
    "billing.Price": "the provider's prices, the same for all",
    "billing.ReconciliationRun": "an account at the provider may serve several organizations",
    "billing.ReconciledDay": "an account at the provider may serve several organizations",
    "billing.ReconciliationLine": "a project of the provider may serve several organizations",
    "billing.ReconciliationDecision": "is about such a line",
    "jobs.LanguageModel": "the provider's catalogue, the same for all",
    "jobs.ModelSnapshot": "the provider's catalogue, the same for all",
    "jobs.Worker": "carries out calls of all",
    "jobs.Watch": "is kept over the workers, which carry out calls of all",
}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
# Longer than that on purpose, and why.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}


def sources(*names: str) -> Iterator[Path]:
    """The Python files of these folders that people write: no migrations, no seeds."""
    for name in names:
        for path in sorted((CHECKOUT / name).rglob("*.py")):
            if path.name != "seeds.py" and not set(GENERATED) & set(path.parts):
                yield path


def named(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def tables(*labels: str) -> list[type[models.Model]]:
    return [model for label in labels for model in apps.get_app_config(label).get_models(include_auto_created=True)]


# --- Tenants ----------------------------------------------------------------------------------------------------------
def leads_to_organization(model: type[models.Model], seen: frozenset[type[models.Model]] = frozenset()) -> bool:
    """Whether each row belongs to an organization by foreign keys that are never empty."""
    targets = [
        field.related_model
        for field in model._meta.concrete_fields
        if isinstance(field, models.ForeignKey) and not field.null
    ]
    return Organization in targets or any(
        leads_to_organization(target, seen | {model}) for target in targets if target not in seen | {model}
    )


@pytest.mark.parametrize("model", tables("accounts", "billing", "jobs"), ids=lambda model: model._meta.label)
def test_every_row_belongs_to_an_organization_unless_its_table_is_shared(model):
    if model._meta.auto_created and model._meta.auto_created in {apps.get_model("accounts.User")}:
        return  # Django's own groups and permissions of a person
    assert leads_to_organization(model) is (model._meta.label not in SHARED_TABLES)


def test_the_shared_tables_are_tables():
    assert set(SHARED_TABLES) <= {model._meta.label for model in tables("accounts", "billing", "jobs")}


# --- Apps -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("app", APPS)
def test_an_app_says_what_it_owns_what_not_and_what_always_holds(app):
    docstring = ast.get_docstring(ast.parse((CHECKOUT / app / "__init__.py").read_text())) or ""
    assert docstring.startswith("Owns: ")
    for part in ("Does not own: ", "Invariants: "):
        assert f"\n{part}" in docstring.replace("\n\nDoes", "\nDoes").replace("\n\nInvariants", "\nInvariants")


def test_imports_go_one_way():
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


# --- Size -------------------------------------------------------------------------------------------------------------
def test_no_file_is_too_long_to_be_read_in_one_go():
    long = {named(path): len(path.read_text().splitlines()) for path in sources(*APPS)}
    assert {name: lines for name, lines in long.items() if lines > MAX_FILE_LINES and name not in LONG_FILES} == {}


def test_no_function_is_too_long_to_be_seen_at_once():
    long = {}
    for path in sources(*APPS):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long[f"{named(path)}:{node.name}"] = lines
    assert {name: lines for name, lines in long.items() if name not in LONG_FUNCTIONS} == {}


# --- Money ------------------------------------------------------------------------------------------------------------
def test_no_amount_is_a_float():
    """Neither in a column nor in the code: no float(), no FloatField, no number with a decimal point."""
    found = []
    for path in sources("billing"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Name) and node.id == "float":
                found.append(f"{named(path)}:{node.lineno} float")
            if isinstance(node, ast.Attribute) and node.attr == "FloatField":
                found.append(f"{named(path)}:{node.lineno} FloatField")
            if isinstance(node, ast.Constant) and isinstance(node.value, float):
                found.append(f"{named(path)}:{node.lineno} {node.value}")
    assert found == []
    columns = [field for model in tables("accounts", "billing", "jobs") for field in model._meta.concrete_fields]
    assert [str(column) for column in columns if isinstance(column, models.FloatField)] == []


def test_every_amount_has_twelve_places():
    amounts = [
        field
        for model in tables("accounts", "billing", "jobs")
        for field in model._meta.concrete_fields
        if field.name.endswith("_usd")
    ]
    assert len(amounts) > 20
    assert [str(f) for f in amounts if (getattr(f, "max_digits", 0), getattr(f, "decimal_places", 0)) != (24, 12)] == []


def test_the_books_are_written_by_billing_alone():
    """Others read them; nobody else makes, changes or deletes a row."""
    books = {"Budget", "Hold", "Reservation", "LedgerEntry", "UsageRecord"}
    books |= {rollup.__name__ for rollup in ROLLUPS}
    writes = {"create", "bulk_create", "update", "bulk_update", "delete", "get_or_create", "update_or_create"}
    found = []
    for path in sources("accounts", "jobs", "config"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            names = {inner.id for inner in ast.walk(node.func) if isinstance(inner, ast.Name)}
            is_write = isinstance(node.func, ast.Name) or (
                isinstance(node.func, ast.Attribute) and node.func.attr in writes
            )
            if names & books and is_write:
                found.append(f"{named(path)}:{node.lineno}")
    assert found == []


# --- What goes out with the repository --------------------------------------------------------------------------------
def tracked_texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = CHECKOUT / name
        data = path.read_bytes() if path.is_file() else b""
        if b"\0" not in data:
            yield name, data.decode("utf-8", "replace")


def test_no_file_names_a_package_registry_or_a_folder_of_somebodys_machine():
    """A lock file or a log that was written behind a mirror would send every user there."""
    folders = "|".join(("work", "home", "root", "Users", "mnt", "private"))
    registry = re.compile(r"(?:--(?:extra-)?index-url|--find-links|--trusted-host|index-url\s*=|registry\s*=)", re.I)
    mirror = re.compile(r"https?://[^\s/'\"]*(?:artifactory|nexus|jfrog|pypi-mirror|devpi|codeartifact)", re.I)
    machine = re.compile(rf"(?<![\w./~}}-])/(?:{folders})/[\w.-]+")
    here = named(Path(__file__))
    found = []
    for name, text in tracked_texts():
        if name == here:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            found += [f"{name}:{number}: {line.strip()[:120]}" for p in (registry, mirror, machine) if p.search(line)]
    assert found == []
    checkout = str(CHECKOUT)
    assert [name for name, text in tracked_texts() if len(checkout) > 8 and checkout in text] == []
