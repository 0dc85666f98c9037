"""Phrases by which a model is told to think, or to show its thoughts.

A word is looked for as it stands, which costs next to nothing; expressions look at the sentence around it alone.
"""

import re
from collections.abc import Iterator, Sequence

from jobs.advice.layout import Layout

# So many places of one word are looked at, and so far around each.
MOST_PLACES, FARTHEST = 20, 200
# So many sentences are looked at for one rule: who repeats a word a thousand times learns no more from it.
MOST_SENTENCES, MOST_STRETCHES = 30, 8
_ENDS = ".!?\n。！？"

_BY_STEPS = (
    r"(?:step[- ]by[- ]step|one step at a time|schritt für schritt|schrittweise|étape par étape|paso a paso|"
    r"passo (?:a|dopo|per) passo|stap voor stap|пошагово|шаг за шагом|一步一步|逐步|ステップバイステップ|段階的)"
)
_THINKING = (
    r"(?:think(?! of\b)|thinks? aloud|(?<!your )reason(?:ing)?|ponder|work(?: this| it| that)? (?:through|on|out)|"
    r"go through|"
    r"proceed|"
    r"solve|calculate|compute|tackle|approach|analy[sz]e|denk\w*|überleg\w*|rechne|löse|raisonne[rz]?|réfléchi\w*|"
    r"piensa|razona|pensa|pense|ragiona|raciocine|resolv\w+|redeneer|denken|думай\w*|рассуждай\w*|思考|考え)"
)
# None of the words below is in a text that has none of these, and most have none.
_COT_STEMS = (
    *("step", "think", "reason", "breath", "chain", "problems", "before", "time", "loud"),
    *("schritt", "bevor", "étape", "avant", "paso", "antes", "passo", "stap", "пошаг", "шаг", "步", "ステップ", "段階"),
)
_COT_WORDS = (
    *("step by step", "step-by-step", "one step at a time", "deep breath", "chain of thought", "chain-of-thought"),
    *(
        "think through",
        "think carefully",
        "think hard",
        "think deeply",
        "think aloud",
        "out loud",
        "think first",
        "think about each",
    ),
    *("first reason", "first think", "smaller steps", "subproblems", "before you answer", "before answering"),
    *("before you respond", "before responding", "before giving"),
    *("schritt für schritt", "schrittweise", "bevor du antwortest", "étape par étape", "avant de répondre"),
    *("paso a paso", "antes de responder", "passo a passo", "passo dopo passo", "stap voor stap"),
    *("пошагово", "шаг за шагом", "一步一步", "逐步", "ステップバイステップ", "段階的に"),
)
_COT = re.compile(
    rf"\b{_THINKING}\b[^\n]{{0,80}}{_BY_STEPS}|{_BY_STEPS}[^\n]{{0,40}}{_THINKING}|"
    rf"{_THINKING}[^\n]{{0,20}}{_BY_STEPS}|"
    rf"\b(?:let'?s|let us) (?:take|do|go|work|tackle|approach)\b[^\n]{{0,30}}{_BY_STEPS}|"
    r"take a deep breath|(?:use|using|with|apply|employ|by) (?:a |your |"
    r"explicit )?chain[- ]of[- ]thought(?! prompts)|"
    r"\b(?:first,? (?:think|reason)|think first|think aloud)\b|"
    r"before (?:you )?(?:answer|respond|reply|giving)\w*[^\n]{0,120}\b(?:think|reason|reflect)\b|"
    r"\b(?:think|reason|reflect)\b[^\n]{0,120}before (?:you )?(?:answer|respond|reply|giving)|"
    r"\b(?:break|split|decompose)\b[^\n]{0,40}\binto (?:smaller |simpler |sub-?)[^\n]{0,40}\b(?:reason|think|solve)|"
    r"(?:bevor du antwortest|avant de répondre|antes de responder)[^\n]{0,80}(?:denk|réfléchi|piensa|razona)|"
    r"(?:denk|réfléchi|piensa|razona)[^\n]{0,80}(?:bevor du antwortest|avant de répondre|antes de responder)"
)
# Steps that somebody else takes, or that the answer is to have.
_NOT_COT = re.compile(
    r"step[- ]by[- ]step (?:guide|instruction|tutorial|manual|checklist|plan|process|recipe|walkthrough)|"
    r"\b(?:makes?|made|lets|helps?|asks?|asked|asking|tells?|told|them|it|users?|models?|people|students?|child|to) "
    r"(?:it |them |him |her |the model |models? |to |carefully )*(?:think|reason)\b|"
    r"\b(?:phrase|prompts? that|the words|contains?|such as)\b|\bexplain\b[^\n]{0,40}step"
)
_REACT = re.compile(
    r"^\W*thought:[^\n]*\n[^\x00]{0,300}?^\W*action:[^\n]*\n[^\x00]{0,300}?^\W*observation:", re.MULTILINE
)

_ASK_WORDS = (
    *(
        "reasoning",
        "thought process",
        "thinking",
        "chain of thought",
        "chain-of-thought",
        "chain_of_thought",
        "thoughts",
    ),
    *(
        "your work",
        "workings",
        "monologue",
        "how you came",
        "how you reason",
        "how you thought",
        "train of thought",
        "how you arrived",
        "how you got",
        "you arrive at",
    ),
    *("thought_process", "aloud", "out loud", "line of thought", "your logic", "your steps"),
    *("gedankengang", "gedankengänge", "überlegungen", "lösungsweg", "rechenweg", "denkprozess"),
    *("raisonnement", "démarche", "razonamiento", "ragionamento", "raciocínio", "redenering"),
    *("рассуждени", "ход мыслей", "思考过程", "推理过程", "思考過程", "推論"),
)
_SHOW = (
    r"(?:explain|show|describe|share|include|output|print|reveal|provide|give|write (?:down|out)|document|detail|"
    r"state|"
    r"(?:walk|take) (?:me|us|the reader|readers) through|display|present|return|see|tell (?:me|us)|lay out|spell out|"
    r"expose|skip|with|list)"
)
_THOUGHTS = (
    r"(?:reasoning|thought process|thinking|chain[- ]of[- ]thought|thoughts|work|workings|(?:internal |"
    r"inner )?monologue|"
    r"(?:line|train) of thought|logic|steps)"
)
_ASK = re.compile(
    rf"\b{_SHOW}\b[^\n]{{0,60}}\b(?:your|the model's) (?:[\w-]+ ){{0,3}}{_THOUGHTS}\b(?! (?:experience|history|"
    rf"permit|place))|"
    rf"\b{_SHOW}\b[^\n]{{0,40}}\b(?:thought process|reasoning|thoughts|thinking)\b[^\n]{{0,30}}\b(?:led|lead|made|"
    rf"brought) you|"
    r"\b(?:show|tell|explain)\b[^\n]{0,20}\bhow you (?:reasoned|thought|solved)|"
    r"\bhow (?:did )?you (?:came|come|arrived?|got|get|reached?) (?:to|at)\b|\beverything you (?:were|are) thinking|"
    r"\bhow you(?: are|'re) thinking|\b(?:think|reason) (?:aloud|out loud)\b|\b(?:inside|in|within|between|"
    r"use) <(?:thinking|thoughts?|reasoning|scratchpad)>|"
    r"[\"'](?:chain_of_thought|thought_process|thoughts|reasoning)[\"']\s*:|\bhidden reasoning|reasoning tokens for|"
    r"\b(?:zeige?|erkläre?|erläutere?|beschreibe?|nenne?|schreibe?)\b[^\n]{0,60}\b(?:deine[nr]?|ihre[nr]?|eure[nr]?) "
    r"(?:[\w]+ ){0,4}?(?:gedankeng\w+|gedanken|überlegungen|lösungsweg|rechenweg|denkprozess)|"
    r"\b(?:explique[zr]?|montre[zr]?|décri\w+|détaille[zr]?)\b[^\n]{0,40}\b(?:ton|votre|ta) (?:raisonnement|"
    r"démarche|réflexion)|"
    r"\b(?:explica|explique|muestra|describe|detalla)\b[^\n]{0,40}\b(?:tu|su) (?:razonamiento|proceso)|"
    r"\b(?:spiega|mostra|descrivi)\b[^\n]{0,40}ragionamento|\b(?:explique|mostre|descreva)\b[^\n]{0,40}raciocínio|"
    r"(?:объясни|покажи|опиши)[^\n]{0,40}(?:рассуждени|ход мыслей)|(?:说明|展示|写出|解释)[^\n]{0,20}(?:思考|推理)过程|"
    r"(?:思考過程|推論)[^\n]{0,10}(?:示|説明|書)"
)
_NOT_ASK = re.compile(
    r"\b(?:don't|do not|never|without|no need to|not|nor|hide|omit|avoid|suppress)\b(?! skip| omit| hide|"
    r" leave)[^\n]{0,40}"
    rf"\b(?:{_SHOW}|{_THOUGHTS}|reasoning)\b|\b(?:phrase|users mean|the words)\b"
)


def sentences(layout: Layout, words: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The sentences in small letters, each with its beginning, in which one of the words stands outside of material."""
    low = layout.text.low
    seen: set[int] = set()
    # Material that is long stands in few blocks, and is passed over; much of a text in small blocks is not worth it.
    stretches = layout.outside if len(layout.outside) <= MOST_STRETCHES else [(0, len(low))]
    for word in words:
        for begin, end in stretches:
            at = low.find(word, begin, end)
            for _ in range(MOST_PLACES):
                if at < 0:
                    break
                start = _before(low, at)
                if start not in seen and not layout.is_material(at):
                    if len(seen) >= MOST_SENTENCES:
                        return
                    seen.add(start)
                    yield start, low[start : _after(low, at + len(word))]
                at = low.find(word, at + len(word), end)


def chain_of_thought(layout: Layout) -> tuple[int, int] | None:
    """Where the model is told to think before it answers."""
    if not any(stem in layout.text.low for stem in _COT_STEMS):
        return None
    for start, sentence in sentences(layout, _COT_WORDS):
        match = _COT.search(sentence)
        if match and not _NOT_COT.search(sentence):
            found = start + match.start(), start + match.end()
            if not layout.is_quoted(*found):
                return found
    return _react(layout)


def asked_reasoning(layout: Layout) -> tuple[int, int] | None:
    """Where the model is asked to say how it thought."""
    for start, sentence in sentences(layout, _ASK_WORDS):
        match = _ASK.search(sentence)
        if match and not _NOT_ASK.search(sentence):
            found = start + match.start(), start + match.end()
            if sentence[match.start()] in "\"'" or not layout.is_quoted(*found):
                return found
    return _react(layout)


def _react(layout: Layout) -> tuple[int, int] | None:
    """A protocol of thoughts, actions and observations, as agents of models that do not reason have it."""
    low = layout.text.low
    at = low.find("thought:")
    if at < 0 or "observation:" not in low or layout.is_material(at):
        return None
    match = _REACT.search(low[max(at - 5, 0) : at + 1000])
    return (at, at + len("thought:")) if match else None


def _before(low: str, at: int) -> int:
    """Where the sentence around a place begins."""
    window = low[max(at - FARTHEST, 0) : at]
    return at - len(window) + max(window.rfind(end) for end in _ENDS) + 1


def _after(low: str, at: int) -> int:
    """Where it ends."""
    window = low[at : at + FARTHEST]
    return at + min((i for i in map(window.find, _ENDS) if i >= 0), default=len(window))
