"""Each setting is documented where people look for it: in .env.example, with its default, and in README.md."""

import ast
import re
from pathlib import Path
from typing import Any, NamedTuple

import environ
import pytest

_CHECKOUT = Path(__file__).resolve().parents[2]
# Their defaults are paths of this checkout, which the example can only describe.
_PLACES = {"BURSAR_VAR_DIR": "var", "BURSAR_STATIC_ROOT": "var/static"}


class Setting(NamedTuple):
    """One `env.KIND("NAME", default=...)` of config/settings.py; the default as source text."""

    kind: str
    name: str
    default: str


class Example(NamedTuple):
    """One line of .env.example: NAME=VALUE, or #NAME=VALUE where VALUE is the default."""

    name: str
    value: str
    commented: bool
    meaning: str


def _settings() -> list[Setting]:
    tree = ast.parse((_CHECKOUT / "config" / "settings.py").read_text())
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="env"), attr=kind),
                args=[ast.Constant(value=str(name))],
                keywords=[ast.keyword(arg="default", value=default)],
            ):
                found.append(Setting(kind, name, ast.unparse(default)))
    return found


def _examples() -> list[Example]:
    lines = (_CHECKOUT / ".env.example").read_text().splitlines()
    return [
        Example(found["name"], found["value"], bool(found["commented"]), before)
        for before, line in zip(["", *lines], lines, strict=False)
        if (found := re.fullmatch(r"(?P<commented>#?)(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)", line))
    ]


def _names_of_compose_alone() -> set[str]:
    compose = (_CHECKOUT / "docker-compose.yml").read_text()
    return set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", compose)) - {setting.name for setting in _settings()}


def _names_in_table_of_readme() -> set[str]:
    rows = [line for line in (_CHECKOUT / "README.md").read_text().splitlines() if line.lstrip().startswith("|")]
    return set(re.findall(r"`([A-Z][A-Z0-9_]+)`", "\n".join(rows)))


def test_the_environment_is_read_in_one_shape_only_so_that_no_setting_escapes_these_tests() -> None:
    """What `_settings` does not recognise, as a name without a default, would go undocumented."""
    text = (_CHECKOUT / "config" / "settings.py").read_text()
    read = re.findall(r"\benv(?:\.(?!db_url_config\b)\w+)?\(", text)
    assert len(read) == len(_settings())
    assert "os.environ" not in text
    assert "getenv" not in text


def test_env_example_names_every_setting_and_nothing_that_nobody_reads() -> None:
    known = {setting.name for setting in _settings()} | _names_of_compose_alone()
    shown = [example.name for example in _examples()]
    assert len(shown) == len(set(shown))
    assert known - set(shown) == set()
    assert set(shown) - known == set()


@pytest.mark.parametrize("setting", _settings(), ids=lambda setting: setting.name)
def test_env_example_shows_the_default_that_holds(setting: Setting) -> None:
    shown = next(example.value for example in _examples() if example.name == setting.name)
    if setting.name in _PLACES:
        assert shown == _PLACES[setting.name]
        return
    reader = environ.Env()
    reader.ENVIRON = {setting.name: shown}
    default: Any = eval(setting.default, {"__builtins__": {}})  # a constant or an arithmetic of constants
    assert getattr(reader, setting.kind)(setting.name) == default


def test_env_example_says_in_a_line_what_each_name_means() -> None:
    for example in _examples():
        assert re.match(r"# \w.*\.$", example.meaning), f"{example.name} has no meaning above it"


def test_only_the_secrets_that_must_be_set_are_left_open_so_that_a_plain_copy_changes_nothing() -> None:
    left_open = {example.name: example.value for example in _examples() if not example.commented}
    assert left_open == {"BURSAR_SECRET_KEY": "", "POSTGRES_PASSWORD": "", "VALKEY_PASSWORD": ""}


def test_readme_lists_every_setting_in_its_table() -> None:
    assert {setting.name for setting in _settings()} - _names_in_table_of_readme() == set()
