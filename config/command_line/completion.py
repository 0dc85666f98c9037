"""`bursar completion`: the script by which bash or zsh completes commands and their options."""

from argparse import ArgumentParser, Namespace

from config.command_line import main
from config.command_line.commands import COMMANDS
from config.command_line.endings import Ending
from config.command_line.terminal import Terminal

_BASH = """# bash completion for bursar
_bursar() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" command="" part words
    for part in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$part" in {alternatives}) command="$part"; break ;; esac
    done
    case "$command" in
{cases}
        *) words="{top}" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    [[ ${{#COMPREPLY[@]}} -eq 0 && "$word" != -* ]] && COMPREPLY=($(compgen -f -- "$word"))
}}
complete -o filenames -F _bursar bursar
"""
_ZSH = """#compdef bursar
_bursar() {{
    local -a known
    local command="" part
    known=({described})
    for part in "${{(@)words[2,CURRENT-1]}}"; do
        case "$part" in
            {alternatives}) command=$part; break ;;
        esac
    done
    case "$command" in
{cases}
        *) _describe command known; compadd -- {options} ;;
    esac
}}
if [ "$funcstack[1]" = "_bursar" ]; then _bursar "$@"; else compdef _bursar bursar; fi
"""


def run(options: Namespace, terminal: Terminal) -> int:
    """The script on stdout."""
    words = {name: _words(main.parser_of(name)) for name in COMMANDS}
    top = _options(main.top_parser())
    if options.shell == "bash":
        cases = "\n".join(f'        {name}) words="{" ".join(known)}" ;;' for name, known in words.items())
        script = _BASH.format(alternatives="|".join(words), cases=cases, top=" ".join([*words, *top]))
    else:
        cases = "\n".join(f"        {name}) compadd -- {' '.join(known)}; _files ;;" for name, known in words.items())
        described = " ".join(_quoted(f"{name}:{command.about}") for name, command in COMMANDS.items())
        script = _ZSH.format(alternatives="|".join(words), described=described, cases=cases, options=" ".join(top))
    terminal.data(script.rstrip("\n"))
    return Ending.OK


def _quoted(text: str) -> str:
    """One word of a shell, whatever is in it."""
    return "'" + text.replace("'", "'\\''") + "'"


def _words(parser: ArgumentParser) -> list[str]:
    """The options of a command, and the words that its places take."""
    places = [action for action in parser._actions if not action.option_strings]
    return [*(str(choice) for place in places for choice in place.choices or ()), *_options(parser)]


def _options(parser: ArgumentParser) -> list[str]:
    return [text for action in parser._actions for text in action.option_strings if text.startswith("--")]
