"""What kind of work a prompt asks for: a product that may come with too many words, or one that a small model does."""

import re

# Of a request no more than this is read: what is asked for stands at its beginning or its end.
READ = 1500

_BRIEF = re.compile(
    r"\b(?:only|just (?:the|a|give|output|return)|nothing else|nothing more|no (?:explanations?|introductions?|"
    r"prose|preamble|comments|markdown)|"
    r"without (?:any |further |comments or )?(?:explan\w+|comment\w*|introduc\w+)|(?:do not|don't|never) (?:add|"
    r"include|explain|write any|give any)|"
    r"limit yourself|concise\w*|be brief|briefly|brief|short answer|in one (?:word|sentence|line)|one sentence|"
    r"a single (?:line|word|sentence)|"
    r"(?:at most|no more than|under|within|fewer than|up to) \d+|in \d+ words|code only|json only|yes or no|"
    r"skip the|answer with (?:a |one |the )?(?:number|word|letter)|"
    r"nur|lediglich|ohne erklärung\w*|knapp|seulement|uniquement|sans explication\w*|solo|sólo|solamente|"
    r"sin explica\w+|solo il|senza spiega\w+)\b"
)
_EXPLAINS = re.compile(
    r"\b(?:explain\w*|why|how (?:does|do|would|can|could|is|are|it)|compar\w+|pros and cons|trade-?offs?|walk (?:me|"
    r"us)|tutorials?|blog|essay|article|"
    r"in detail|detailed|review|what could|what would|should (?:i|we)|what are|what does|describe|discuss|teach|"
    r"understand|causes?|"
    r"lecture|story|letter|report|paragraphs?|e-?mail(?! address)|speech|poem|lyrics|plan|announcement|"
    r"proposal|video|scene|ideas?|impacts?|dialogue|haiku|caption|post|reasoning|erklär\w*|warum|wie |beschreib\w*|"
    r"ausführlich|expli\w+|pourquoi|comment|"
    r"por qué|cómo|spiega\w*|"
    r"perché|tell me)\b"
)
_PRODUCT = re.compile(
    r"(?:^|[.!?:,;\n][ \t]{0,3}|\b(?:please|now|and|then|can you|could you)[ \t]{1,3})(?:write|creat\w+|generat\w+|"
    r"implement\w*|"
    r"convert\w*|"
    r"translat\w+|fix|comput\w+|calculat\w+|solv\w+|"
    r"extract\w*|rewrit\w+|refactor\w*|give me|name|build|make|produce|turn|list|find|add|complete|port|draw|format|"
    r"sort|parse|"
    r"schreib\w*|erstell\w*|erzeug\w*|übersetz\w*|berechn\w*|gib|nenne|écri\w*|écris|crée\w*|traduis\w*|calcule|"
    r"génère|crea|escrib\w*|"
    r"genera|traduc\w*|scrivi|traduci|escreva|crie)\b"
)

_SIMPLE = re.compile(
    r"\b(?:translate (?!.{0,40}\b(?:program|algorithm|code|statute)\b)|übersetz\w*|tradui\w*|traduce\b|traduci\b|"
    r"(?:correct|fix|check) (?:the |my |all )?(?:spelling|grammar|typos?|punctuation)|proofread|spell-?check|"
    r"korrigier\w*|corrige[rz]?\b|"
    r"extract (?:the |all |every )?(?:[\w-]+ ){0,2}(?:numbers?|dates?|names?|addresses|amounts?|totals?|e-?mails?|"
    r"urls?|phone numbers|fields?|entities)|"
    r"extrae\b|extrahier\w*|"
    r"(?:classify|categori[sz]e|label|tag|detect|identify|determine) (?:the |this |these |each |every )?(?:[\w-]+ )?"
    r"(?:sentiments?|tickets?|messages?|reviews?|e-?mails?|texts?|expenses?|tweets?|comments?|languages?|headlines?|"
    r"last review)\b|"
    r"\bpositive or negative\b|\b(?:rewrite|rephrase|reword) (?:this|the|my) (?:[\w-]+ )?(?:e-?mail|mail|sentence|"
    r"text|message|paragraph)\b|paraphrase|"
    r"make (?:this|the|my) (?:sentence|text|mail|e-?mail) (?:shorter|friendlier|politer|more)|"
    r"(?:convert|normali[sz]e|reformat|format) (?:the |these |this |all )?(?:[\w-]+ )?(?:dates?|phone numbers|csv|"
    r"json|names|addresses|units|list)\b|"
    r"(?:rephrase|reword|rewrite) (?:this|it) (?:more |in )|sort (?:these|the) [\w ]{2,20} alphabetically|"
    r"(?:synonyms?|antonyms?|a rhyme) (?:for|of)\b|is (?:this|the following) (?:tweet|review|comment|message) \w+\?|"
    r"summari[sz]e (?:this |the )?(?:[\w-]+ )?(?:text |mail |article |message )?in (?:a|one|two|"
    r"three) (?:short )?(?:sentences?|lines?|words?)|"
    r"fasse? .{0,40}\bin (?:einem|zwei) s[aä]tze?n?\b|"
    r"write (?:me )?(?:a |an )?(?:short |two-line |brief |one-line |friendly )?(?:birthday|thank-you note|greeting|"
    r"tagline|slogan|product description|tweet|caption)|"
    r"(?:give|suggest|find) (?:me )?(?:a |an )?(?:title|headline|name|slogan)\b)"
)
_ASKED = re.compile(
    r"^\W*(?:which year did|what year did|what day is|what is the (?:capital|plural|opposite) of (?:the )?\W?\w+\W*$|"
    r"who (?:wrote|painted|invented|composed) [^,\n]{1,60}\?\W*$)"
)
_GREETING = re.compile(
    r"^\W*(?:hi|hello|hey|good (?:morning|evening)|hallo|bonjour|hola|thanks?|thank you|danke|merci|"
    r"test)\b[^\n]{0,60}$"
)
_HARD = re.compile(
    r"\b(?:prov(?:e|es|ed|ing|able)|proofs?|algorithm\w*|program\w*|decid\w+|weigh\w*|design\w*|optimi[sz]\w*|"
    r"debug\w*|analy[sz]\w*|strateg\w+|compar\w+|contradict\w*|"
    r"deriv\w+|assumption\w*|invariant\w*|isomorph\w*|why|counterexample|rank|draft|prioriti[sz]\w*|propos\w+|"
    r"evidence|estimate|trade-?off\w*|"
    r"constraint\w*|glossar\w*|plain language|audience|legal\w*|consisten\w*|recursi\w+|rust|haskell|python|explain|"
    r"show that|compliance|"
    r"verse|board|metre|rhymes? and|poem|comment on|beweis\w*|entscheide\w*|vereinheitliche\w*|prouve\w*|demuestra)\b"
)
_QUOTED = re.compile(r'"[^"]*"|“[^”]*”|«[^»]*»')
# One of these is in whatever is found above, and in few other requests.
_SIMPLE_STEMS = (
    *("translat", "übersetz", "tradui", "traduc", "spell", "grammar", "typo", "punctuation", "proofread", "korrigier"),
    *("corrig", "extra", "classify", "categori", "label", "tag", "detect", "identify", "determine", "positive or"),
    *("rewrite", "rephrase", "reword", "paraphras", "make ", "convert", "normali", "format", "summari", "fass"),
    *("birthday", "thank", "greeting", "slogan", "tagline", "product desc", "tweet", "caption", "title", "headline"),
    *("name", "alphabet", "synonym", "antonym", "rhyme", "is this", "is the following"),
)
LONGEST_SIMPLE, LONGEST_MATERIAL = 500, 6_000


def lacks_limit(request: str) -> int | None:
    """Where something is asked for that explanations may be wrapped around, and nobody says to leave them away.

    `request` is in small letters.
    """
    request = _ends(request)
    if _BRIEF.search(request) or _EXPLAINS.search(request):
        return None
    match = _PRODUCT.search(request)
    return match.start() if match else None


def is_simple(request: str, *, length: int) -> tuple[int, int] | None:
    """Where a prompt of so many characters asks for what any model does."""
    if len(request) > LONGEST_SIMPLE or length > LONGEST_MATERIAL:
        return None
    is_likely = any(stem in request for stem in _SIMPLE_STEMS)
    match = (_SIMPLE.search(request) if is_likely else None) or _ASKED.match(request) or _GREETING.match(request)
    # What stands behind the colon, or in quotation marks, is what is to be worked on.
    asked = request.split(":", 1)[0] if match and ":" in request[match.end() :] else _QUOTED.sub("", request)
    if _HARD.search(asked):
        return None
    return (match.start(), match.end()) if match else None


def _ends(request: str) -> str:
    return request if len(request) <= 2 * READ else f"{request[:READ]}\n{request[-READ:]}"
