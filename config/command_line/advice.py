"""Advice on a prompt, as people read it."""

from typing import Any

from config.command_line.money import usd
from config.command_line.terminal import Terminal, safe

LONGEST_QUOTE = 80


def tell_advice(terminal: Terminal, advice: list[dict[str, Any]], prompt: str) -> None:
    """Each piece of advice on stderr, with its passage of the prompt and what it is worth."""
    for one in advice:
        passage = one["passage"]
        words = " ".join(prompt[passage["start"] : passage["end"]].split()) if passage else ""
        where = f' at "{safe(words[:LONGEST_QUOTE])}"' if words else ""
        worth = f" (up to {usd(one['saving_usd'])} USD a call)" if one["saving_usd"] else ""
        terminal.say(f"{one['rule']}{where}{worth}: {safe(one['do'])}")
