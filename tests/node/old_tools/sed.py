"""What sed(1) of old Solaris makes of a program: the grammar of AT&T's sed, as in usr/src/ucbcmd/sed/sed0.c."""

from tests.node.old_tools.expressions import Bad, expression, replacement

_SIMPLE = "dDgGhHlnNpPqx="
_ONE_ADDRESS = "aiqr="
_LONGEST_LABEL = 8


def objection(program: str) -> str | None:
    """Why it would not run, or not as it reads; None where it would."""
    try:
        _Reader().program(program)
    except Bad as bad:
        return str(bad)
    return None


def _lines(program: str) -> list[str]:
    """Lines as sed reads them: a newline after a backslash ends none."""
    lines, line, escaped = [], "", False
    for char in program:
        if char == "\n" and not escaped:
            lines.append(line)
            line = ""
        else:
            line += char
        escaped = char == "\\" and not escaped
    return [*lines, line]


class _Reader:
    """One program, command by command."""

    def __init__(self) -> None:
        self._text, self._at, self._depth, self._known = "", 0, 0, False

    def program(self, text: str) -> None:
        """Raises Bad."""
        for self._text in _lines(text):
            self._at = 0
            while self._command():
                pass
        if self._depth:
            raise Bad("Too many {'s")

    @property
    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._next
        self._at += 1
        return char

    def _blanks(self, more: str = "") -> None:
        while self._next and self._next in " \t" + more:
            self._at += 1

    def _command(self) -> bool:
        """False at the end of the line."""
        self._blanks(";")
        if self._next in {"", "#"}:
            return False
        addresses = self._addresses()
        self._blanks()
        while self._next == "!":
            self._at += 1
        command = self._take()
        if addresses > 1 and command in _ONE_ADDRESS:
            raise Bad(f"Only one address allowed: {command}")
        if command == "{":
            self._depth += 1
            return True
        return self._close(addresses) if command == "}" else self._rest(command)

    def _addresses(self) -> int:
        if not self._address():
            return 0
        if self._next == ";":
            raise Bad("a ; after an address counts as a comma")
        if self._next != ",":
            return 1
        self._at += 1
        if not self._address():
            raise Bad("no second address after the comma")
        return 2

    def _address(self) -> bool:
        if self._next in {"/", "\\"}:
            if self._next == "\\":
                self._at += 1
            self._expression(self._take())
        elif self._next == "$":
            self._at += 1
        elif self._next.isdigit():
            while self._next.isdigit():
                self._at += 1
        else:
            return False
        return True

    def _expression(self, end: str) -> int:
        """Gives how many groups it has; an empty one is the one before."""
        begin = self._at
        self._at, groups = expression(self._text, begin, end)
        if self._at == begin + 1 and not self._known:
            raise Bad("First RE may not be null")
        self._known = True
        return groups

    def _close(self, addresses: int) -> bool:
        """The } itself; the loop goes on with the next line, whatever follows on this one."""
        if addresses:
            raise Bad("No addresses allowed: }")
        if not self._depth:
            raise Bad("Too many }'s")
        self._depth -= 1
        if self._text[self._at :].strip(" \t;"):
            raise Bad(f"what follows }} on its line is never read: {self._text[self._at :]!r}")
        return False

    def _rest(self, command: str) -> bool:
        if command == "s":
            end = self._take()
            groups = self._expression(end)
            self._at = replacement(self._text, self._at, end, groups)
            self._flags()
        elif command == "y":
            self._transform(self._take())
        elif command in {":", "b", "t"}:
            return self._label()
        elif command in {"a", "c", "i"}:
            return self._added(command)
        elif command in {"r", "w"}:
            return self._file(command)
        elif not command or command not in _SIMPLE:
            raise Bad(f"Unrecognized command: {command}")
        if self._next and self._take() != ";":
            raise Bad(f"Extra text at end of command {command}: {self._text[self._at - 1 :]!r}")
        return True

    def _flags(self) -> None:
        """In this order, and no others."""
        if self._next == "g":
            self._at += 1
        while self._next.isdigit():
            self._at += 1
        if self._next in {"p", "P"}:
            self._at += 1
        if self._next == "w":
            self._at = len(self._text)

    def _transform(self, end: str) -> None:
        for _ in range(2):
            while self._next != end:
                if not self._next:
                    raise Bad("Ending delimiter missing on string")
                self._at += 2 if self._next == "\\" else 1
            self._at += 1

    def _label(self) -> bool:
        label = self._text[self._at :].lstrip(" ")
        if len(label) > _LONGEST_LABEL or set(label) & set(" \t;}"):
            raise Bad(f"a label is all the rest of its line, and at most eight characters: {label!r}")
        return False

    def _added(self, command: str) -> bool:
        if not self._text[self._at :].startswith("\\\n"):
            raise Bad(f"{command} needs a backslash and a newline before its text")
        return False

    def _file(self, command: str) -> bool:
        if self._next != " ":
            raise Bad(f"Space missing before filename: {command}")
        return False
