"""What awk(1) of old Solaris makes of a program: the first awk's grammar, usr/src/cmd/oawk/awk.g.y and awk.lx.l."""

import re

# CBUFLEN of awk.lx.l.
_LONGEST_STRING = 149
_BEFORE_PARENTHESES = "length log int exp sqrt sprintf split substr index print printf if while for exit in"
_LATER = """
function func delete do return ENVIRON ARGC ARGV FNR RSTART RLENGTH SUBSEP CONVFMT
toupper tolower gsub sub match system close rand srand sin cos atan2 fflush
"""
_FUNCTIONS, _UNKNOWN = frozenset(_BEFORE_PARENTHESES.split()), frozenset(_LATER.split())
_TOKEN = re.compile(
    r"""(?P<blank>[ \t]+|\#[^\n]*|\\\n) | (?P<string>"(?:\\.|[^"\\])*") | (?P<number>\d+\.?\d*|\.\d+)
    | (?P<word>[A-Za-z_]\w*) | (?P<sign>&&|\|\||!~|[!=<>]=|>>|\+\+|--|[-+*/%]=|.|\n)""",
    re.VERBOSE | re.DOTALL,
)
_REGEX = re.compile(r"/(?:\\.|[^/\\\n])+/")
_RELATIONS = frozenset(["<", "<=", "==", "!=", ">=", ">", "~", "!~"])
_OPERAND = re.compile(r"[\w\"\])]")
_UNKNOWN_SIGNS = frozenset("?:^")
Tokens = list[str]


def objection(program: str) -> str | None:
    """Why it would not run, or not as it reads; None where it would."""
    tokens = _tokens(program)
    for index, token in enumerate(tokens):
        found = _word(tokens, index) or _string(token) or _sign(tokens, index)
        if found:
            return found
    return _shape(tokens)


def _tokens(program: str) -> Tokens:
    tokens: Tokens = []
    at = 0
    while at < len(program):
        before = tokens[-1][-1] if tokens else ""
        match = None if _OPERAND.match(before) else _REGEX.match(program, at)
        match = match or _TOKEN.match(program, at)
        assert match is not None
        if match.lastgroup != "blank":
            tokens.append(match[0])
        at = match.end()
    return tokens


def _word(tokens: Tokens, index: int) -> str | None:
    token, after = tokens[index], tokens[index + 1 : index + 2]
    if not (token[0].isalpha() or token[0] == "_"):
        return None
    if token in _UNKNOWN or (after == ["("] and token not in _FUNCTIONS):
        return f"{token} is not known"
    if token == "in" and tokens[max(index - 3, 0) : index - 1] != ["for", "("]:
        return "in is only known to for"
    if token == "getline" and after and (after[0] == "<" or after[0][0].isalpha()):
        return "getline takes neither a variable nor a file"
    return None


def _string(token: str) -> str | None:
    if not token.startswith('"'):
        return None
    if "\n" in token or len(token) > _LONGEST_STRING:
        return f"no such strings: {token!r}"
    if any(pair[1] not in '"ntbrf\\' for pair in re.findall(r"\\.", token)):
        return f"{token}: an escape that is not known"
    return "%c prints no number as a character" if re.search(r"%[-0-9.]*c", token) else None


def _sign(tokens: Tokens, index: int) -> str | None:
    token, before, after = tokens[index], tokens[max(index - 1, 0)], tokens[index + 1 : index + 2]
    if token in _UNKNOWN_SIGNS or (token == "*" and after in (["*"], ["*="])):
        return f"{token} is not known"
    if token in {"&&", "||", ","} and after == ["\n"]:
        return f"no newline may follow {token}"
    if token == "," and _in_subscript(tokens[:index]):
        return "no subscripts of several parts"
    inside = tokens[:index].count("{") > tokens[:index].count("}")
    if inside and _is_regex(token) and before not in {"~", "!~"}:
        return f"{token} must follow ~ there"
    return None


def _in_subscript(tokens: Tokens) -> bool:
    return tokens.count("[") > tokens.count("]")


def _is_regex(token: str) -> bool:
    return len(token) > 1 and token[0] == "/" and token != "/="


def _shape(tokens: Tokens) -> str | None:
    """BEGIN first, END last, each once; a pattern is a relation or a regular expression, or some of them."""
    patterns = _patterns(tokens)
    names = [" ".join(pattern) for pattern in patterns]
    if "BEGIN" in names[1:] or "END" in names[:-1]:
        return "BEGIN comes first, END last, and each once"
    for pattern in patterns:
        if pattern in ([], ["BEGIN"], ["END"]):
            continue
        for part in re.split(r" (?:&&|\|\||,) ", " ".join(pattern)):
            words = part.split(" ")
            if not (_RELATIONS.intersection(words) or any(map(_is_regex, words))):
                return f"{part} is no pattern: a relation or a regular expression is"
    return None


def _patterns(tokens: Tokens) -> list[Tokens]:
    """What stands before each action, or without one."""
    found: list[Tokens] = [[]]
    depth = 0
    for token in tokens:
        if token == "{":
            depth += 1
        elif token == "}":
            depth -= 1
            if not depth:
                found.append([])
        elif not depth and token in {"\n", ";"}:
            if found[-1]:
                found.append([])
        elif not depth:
            found[-1].append(token)
    return found if found[-1] else found[:-1]
