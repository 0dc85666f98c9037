"""What can be typed: every command, every documented example, and how values are read and written."""

import argparse
import re
import shlex
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from config.command_line import listing, main, money
from config.command_line.commands import COMMANDS, SORTS
from config.command_line.endings import MEANINGS, Ending, Refused, UsageError
from config.command_line.listing import pairs
from config.command_line.submission_files import read
from config.command_line.terminal import bar, safe, safe_lines
from tests.command_line.conftest import CHECKOUT, Shell

PAGE = CHECKOUT / "docs" / "command-line.md"


def documented() -> list[str]:
    """The commands in the examples of the page and of every command's help, up to the first pipe or redirection."""
    text = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL))
    for command in COMMANDS.values():
        text += "\n" + command.examples
    # What others' commands stand before it is not ours.
    return re.findall(r"(?:^|\| )\s*(bursar [^|<>\n#]*)", text.replace("\\\n", " "), re.MULTILINE)


@pytest.mark.parametrize("line", documented())
def test_every_documented_command_parses(line):
    words = shlex.split(line)[1:]
    options = main.top_parser().parse_args(words)
    assert options.command in COMMANDS
    main.parser_of(options.command).parse_args(options.rest, options)


def test_every_command_and_option_is_documented():
    text = PAGE.read_text()
    for name in COMMANDS:
        assert f"bursar {name}" in text
    for code, meaning in MEANINGS.items():
        assert f"| {code:d} | {meaning} |" in text


def test_help_of_every_command(nowhere: Shell):
    top = nowhere("--help")
    assert top.code == 0
    for ending in Ending:
        assert f"{ending:d} " in top.out
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", top.out, re.MULTILINE)
        assert main.parser_of(name).format_help().startswith(f"usage: bursar {name}")
    assert nowhere("spend", "--help").out.startswith("usage: bursar spend")
    assert nowhere().out == top.out


def test_options_count_before_and_behind_the_command():
    for words in (["--json", "-q", "--url", "u", "list"], ["list", "--json", "-q", "--url", "u"]):
        options = main.top_parser().parse_args(words)
        options = main.parser_of("list").parse_args(options.rest, options)
        assert (options.json, options.quiet, options.url, options.no_color) == (True, True, "u", False)


def test_nothing_of_the_server_is_loaded():
    code = (
        "import sys; from importlib import import_module; from config.command_line import main\n"
        "assert 'http' not in sys.modules and 'ssl' not in sys.modules\n"
        "for command in main.COMMANDS.values(): import_module(f'config.command_line.{command.module}').run\n"
        "print(sorted({module.partition('.')[0] for module in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    loaded = set(re.findall(r"'(\w+)'", done.stdout))
    assert {"django", "openai", "httpx2", "celery", "jobs", "billing", "accounts", "rest_framework"}.isdisjoint(loaded)
    assert "config" in loaded


def test_a_refusal_explains_itself():
    budget = {
        "scope": "project",
        "name": "Research",
        "origin": "quota",
        "measure": "usd",
        "limit": "1.00",
        "spent": "0.09",
        "held": "0.00",
        "remaining": "0.91",
        "required": "1.50135",
        "resets_at": "2024-10-01",
    }
    refused = Refused(402, {"detail": "Too dear.", "code": "exceeds_limit", "budget": budget, "request_id": "req_1"})
    assert refused.ending is Ending.LIMIT
    limit, way_out, request = refused.explained()
    assert "project Research (quota): 1.00 USD; 0.09 spent, 0.00 held, 0.91 left, 1.50135 needed" in limit
    assert "--max-tokens" in way_out
    assert request == "request req_1"
    fields = [{"pointer": "#/metadata/a", "detail": "no"}, {"parameter": "limit", "detail": "x"}]
    assert Refused(400, {"detail": "d", "errors": fields}).explained() == ["metadata.a: no", "limit: x"]


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (400, Ending.FAILED),
        (401, Ending.NOT_ALLOWED),
        (402, Ending.LIMIT),
        (403, Ending.NOT_ALLOWED),
        (404, Ending.NOT_FOUND),
        (409, Ending.FAILED),
        (422, Ending.FAILED),
        (429, Ending.LIMIT),
        (500, Ending.UNREACHABLE),
        (503, Ending.UNREACHABLE),
    ],
)
def test_statuses_are_exit_codes(status, ending):
    assert Refused(status, {}).ending is ending


# --- Values -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("text", "sent"), [("2.50", "2.50"), ("1e-3", "0.001"), ("0.000000000001", "0.000000000001")])
def test_amounts_are_sent_exactly(text, sent):
    assert money.amount(text, "--max-cost") == sent


@pytest.mark.parametrize("text", ["", "x", "-1", "NaN", "Infinity", "1,5", "$5"])
def test_what_is_no_amount(text):
    with pytest.raises(UsageError, match="--max-cost"):
        money.amount(text, "--max-cost")


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("2030-01-31", "2030-01-31T00:00:00Z"),
        ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
        ("2030-01-31T12:00+02:00", "2030-01-31T10:00:00Z"),
    ],
)
def test_instants_are_sent_with_their_offset(text, sent):
    assert money.instant(text, "--deadline") == sent
    assert money.instant("+90m", "--deadline").endswith("Z")
    for wrong in ("+m", "+5x", "soon", "31.1.2030"):
        with pytest.raises(UsageError):
            money.instant(wrong, "--deadline")


def test_everything_that_can_be_sorted_by_is():
    assert set(SORTS) == set(listing.SORTS)


def test_pairs():
    assert pairs(["a=b", "c=d=e", "f="]) == {"a": "b", "c": "d=e", "f": ""}
    for wrong in ("a", "=b"):
        with pytest.raises(UsageError):
            pairs([wrong])


def test_nobodys_words_move_the_cursor():
    assert safe("a\x1b[31mb\nc\u202ed\x07") == "a\ufffd[31mb c\ufffdd\ufffd"
    assert safe_lines("a\r\nb\tc\x1b]0;x") == "a\nb\tc\ufffd]0;x"


def test_bars_are_exact_at_their_ends():
    assert bar(Decimal(0), Decimal(5), 4) == "    "
    assert bar(Decimal(5), Decimal(5), 4) == "████"
    assert bar(Decimal("2.5"), Decimal(5), 4) == "██  "
    assert bar(Decimal(9), Decimal(5), 4) == "████"
    assert bar(1, 0, 4) == "    "


# --- Files of jobs ----------------------------------------------------------------------------------------------------
def lines_of(tmp_path: Path, text: str, **defaults: object) -> list:
    file = tmp_path / "lines.jsonl"
    file.write_text(text)
    return list(read(str(file), {"model": "o1-mini", **defaults}, ""))


def test_lines_are_texts_jobs_or_lines_of_a_batch(tmp_path):
    text = (
        '"one"\n\n{"prompt": "two", "model": "o1", "custom_id": "b"}\n'
        '{"custom_id": "c", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}\n'
    )
    first, second, third = lines_of(tmp_path, text, priority=3)
    assert first.body == {"model": "o1-mini", "priority": 3, "prompt": "one"}
    assert (second.number, second.custom_id, second.body["model"]) == (3, "b", "o1")
    assert (third.custom_id, third.body["messages"]) == ("c", [])


def test_keys_are_of_the_line_and_of_how_often_it_came(tmp_path):
    first = lines_of(tmp_path, '"a"\n"a"\n"b"\n')
    again = lines_of(tmp_path, '"b"\n"a"\n"a"\n"c"\n')
    assert len({line.key for line in first}) == 3
    assert {line.key for line in first} < {line.key for line in again}
    assert lines_of(tmp_path, '"a"')[0].key != lines_of(tmp_path, '"a"', priority=1)[0].key
    assert all(len(line.key) <= 255 for line in first)


@pytest.mark.parametrize("text", ["{", "3", "[]", '{"model": "x"}\n"ok"\nnull'])
def test_a_line_that_is_none_is_named(tmp_path, text):
    number = text.count("\n") + 1
    with pytest.raises(UsageError, match=f"Line {number} "):
        lines_of(tmp_path, text)


def test_the_parsers_of_commands_take_no_abbreviated_surprise():
    with pytest.raises(SystemExit) as stopped:
        main.parser_of("list").parse_args(["--no-such-option"], argparse.Namespace())
    assert stopped.value.code == Ending.USAGE
