"""The text form of protocol buffers, in which a config.pbtxt is written, read without its schema.

Law: pure. What protobuf's own reader takes is taken, with the same names and values; what is not balanced, or ends in
the middle of a value, is a PbtxtError that tells the line. Whether a name is known and of which type is not asked:
a newer Triton knows more names than any list here would.
Not protobuf itself with Triton's schema: a name that this schema lacks would fail the whole file.
Source: protobuf's "Text Format Language Specification".
"""

import re
from collections.abc import Iterator
from typing import NamedTuple, Union

Value = Union[str, "Message"]
"""A string's content, a number or a name as it is written, or what stands in braces."""

Message = dict[str, list[Value]]
"""The values of each field, in their order; a list's elements are values of their own."""

_DEPTH_MAX = 100  # protobuf's own limit for messages in messages

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n\f\v]+|\#[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*|\.?[0-9][0-9A-Za-z_.]*(?:(?<=[eE])[+-][0-9]+)?)
    |(?P<mark>[]\[{}<>:,;/.-])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_UNICODE_MAX = 0x10FFFF
_CLOSED_BY = {"{": "}", "<": ">"}


class PbtxtError(ValueError):
    """The text is none. The message says what is wrong, and begins with the line."""


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def parse(text: str) -> Message:
    r"""Return the fields of ``text``. Raises PbtxtError.

    >>> parse('name: "m"  output [ { dims: [ 1, -1 ] } ] # of one model')
    {'name': ['m'], 'output': [{'dims': ['1', '-1']}]}
    >>> parse("output {\n dims: 1")
    Traceback (most recent call last):
    modelfs.pbtxt.PbtxtError: line 2: a '{' of line 1 is never closed
    """
    return _Reader(list(_tokens(text))).whole()


def _tokens(text: str) -> Iterator[_Token]:
    line, position = 1, 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            what = "a string does not end on its line" if text[position] in "\"'" else "there is a stray character"
            raise PbtxtError(f"line {line}: {what}: {text[position : position + 20].splitlines()[0]!r}")
        if found.lastgroup != "blank":
            yield _Token(str(found.lastgroup), found[0], line)
        line += found[0].count("\n")
        position = found.end()
    yield _Token("end", "", line)


class _Reader:
    """Goes through the tokens once."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._position = 0
        self._opened: list[_Token] = []

    def whole(self) -> Message:
        """Return all of it."""
        message = self._fields("")
        if self._now.kind != "end":
            raise self._failure(f"a {self._now.text!r} closes what was never opened")
        return message

    @property
    def _now(self) -> _Token:
        return self._tokens[self._position]

    def _take(self) -> _Token:
        token = self._now
        self._position += token.kind != "end"
        return token

    def _skip(self, *marks: str) -> bool:
        """Go past one of ``marks``, and return whether there was one."""
        found = self._now.kind == "mark" and self._now.text in marks
        self._position += found
        return found

    def _failure(self, what: str) -> PbtxtError:
        if self._now.kind == "end" and self._opened:
            opened = self._opened[-1]
            what = f"a {opened.text!r} of line {opened.line} is never closed"
        return PbtxtError(f"line {self._now.line}: {what}")

    def _fields(self, closing: str) -> Message:
        """Return the fields up to ``closing``, which stays."""
        message: Message = {}
        while self._now.kind != "end" and not (self._now.kind == "mark" and self._now.text in {closing, "}", ">", "]"}):
            name = self._name()
            values = message.setdefault(name, [])
            if self._skip(":") or (self._now.kind == "mark" and self._now.text in {"{", "<", "["}):
                values += self._values()
            else:
                raise self._failure(f"a ':' or '{{' must follow {name!r}")
            self._skip(",", ";")
        return message

    def _name(self) -> str:
        token = self._take()
        if token.kind == "word":
            return token.text
        if token.text != "[":
            self._position -= token.kind != "end"
            raise self._failure(f"a field must begin with its name, not {token.text!r}")
        self._opened.append(token)
        name = ""  # an extension, or the type of an Any
        while not self._skip("]"):
            if self._now.kind not in {"word", "mark"} or self._now.text in {"[", "{", "}", "<", ">"}:
                raise self._failure(f"a name in brackets holds {self._now.text!r}")
            name += self._take().text
        self._opened.pop()
        return f"[{name}]"

    def _values(self) -> list[Value]:
        opened = self._now
        if not self._skip("["):
            return [self._value()]
        self._opened.append(opened)
        values: list[Value] = []
        while not self._skip("]"):
            if values and not self._skip(","):
                raise self._failure(f"a ',' or ']' is missing before {self._now.text!r}")
            values.append(self._value())
        self._opened.pop()
        return values

    def _value(self) -> Value:
        token = self._take()
        if token.kind == "text":
            parts = [token.text]
            while self._now.kind == "text":
                parts.append(self._take().text)
            return "".join(_content(part[1:-1]) for part in parts)
        if token.kind == "word":
            return token.text
        if token.text == "-" and self._now.kind == "word":
            return f"-{self._take().text}"
        if token.text in _CLOSED_BY:
            return self._message(token)
        self._position -= token.kind != "end"
        raise self._failure(f"a value is missing before {token.text!r}")

    def _message(self, opened: _Token) -> Message:
        self._opened.append(opened)
        if len(self._opened) > _DEPTH_MAX:
            raise self._failure("the braces are nested too deep")
        closing = _CLOSED_BY[opened.text]
        message = self._fields(closing)
        if not self._skip(closing):
            raise self._failure(f"a {closing!r} is missing before {self._now.text!r}")
        self._opened.pop()
        return message


def _content(quoted: str) -> str:
    """Return what stands between two quotes; bytes that are no UTF-8 become surrogates."""
    if "\\" not in quoted:
        return quoted
    parts: list[bytes] = []
    end = 0
    for found in _ESCAPE.finditer(quoted):
        parts.append(quoted[end : found.start()].encode("utf-8", "surrogateescape"))
        octal, two, four, eight, letter = found.groups()
        if octal or two:
            parts.append(bytes([int(octal, 8) & 0xFF if octal else int(two, 16)]))
        elif four or eight:
            number = min(int(four or eight, 16), _UNICODE_MAX)
            parts.append(chr(number).encode("utf-8", "surrogatepass"))
        else:
            parts.append(_LETTERS.get(letter, letter).encode("utf-8", "surrogateescape"))
        end = found.end()
    parts.append(quoted[end:].encode("utf-8", "surrogateescape"))
    return b"".join(parts).decode("utf-8", "surrogateescape")
