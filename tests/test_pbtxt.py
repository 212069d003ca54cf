"""The reader of the text form, against protobuf's own."""

from contextlib import suppress

import pytest
from google.protobuf import struct_pb2, text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelfs.pbtxt import Message, PbtxtError, Value, parse

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# a Struct is the one well-known message that nests, repeats, and holds strings, numbers and names
values = st.recursive(
    st.text(max_size=8) | st.floats(allow_nan=False) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
structs = st.dictionaries(st.text(max_size=8), values, max_size=4)


def as_struct(plain: dict[str, object]) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(plain)
    return made


def from_read(message: Message) -> dict[str, object]:
    """Return what a Struct says, from what was read of its text."""
    found: dict[str, object] = {}
    for entry in message.get("fields", []):
        assert isinstance(entry, dict)
        (key,) = entry.get("key", [""])
        (value,) = entry.get("value", [{}])
        assert isinstance(key, str)
        found[key] = of_value(value)
    return found


def of_value(value: Value) -> object:
    assert isinstance(value, dict)
    ((kind, inner),) = value.items()
    (each,) = inner
    if isinstance(each, dict):
        if kind == "struct_value":
            return from_read(each)
        return [of_value(one) for one in each.get("values", [])]
    known = {"null_value": None, "bool_value": each == "true"}
    return known[kind] if kind in known else float(each) if kind == "number_value" else each


@PATIENT
@given(plain=structs, one_line=st.booleans(), angular=st.booleans())
def test_what_protobuf_writes_is_read_as_it_was(plain: dict[str, object], *, one_line: bool, angular: bool) -> None:
    struct = as_struct(plain)
    text = text_format.MessageToString(struct, as_one_line=one_line, pointy_brackets=angular, as_utf8=one_line)
    assert as_struct(from_read(parse(text))) == struct


@PATIENT
@given(structs.filter(bool), st.data())
def test_text_that_is_cut_within_its_braces_is_refused(plain: dict[str, object], data: st.DataObject) -> None:
    (key, value) = next(iter(plain.items()))
    text = text_format.MessageToString(as_struct({key: value}))
    with pytest.raises(PbtxtError):
        parse(text[: data.draw(st.integers(text.index("{") + 1, text.rindex("}")))])


@PATIENT
@given(st.text(alphabet="ab1:{}<>[],;\"\\\n #-.'", max_size=40))
def test_no_text_does_worse_than_be_refused_and_what_protobuf_takes_never_is(text: str) -> None:
    try:
        text_format.Parse(text, struct_pb2.Struct(), allow_unknown_field=True)
    except text_format.ParseError:
        with suppress(PbtxtError):
            parse(text)
    else:
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", {"a": ["1"]}),
        ("a: -1 a: - 2", {"a": ["-1", "-2"]}),
        ("a: 1.5e-3, b: .5; c: 0x1F", {"a": ["1.5e-3"], "b": [".5"], "c": ["0x1F"]}),
        ("a { b: TYPE_FP32 }", {"a": [{"b": ["TYPE_FP32"]}]}),
        ("a: < b: true >", {"a": [{"b": ["true"]}]}),
        ("a: [1, 2] a: 3", {"a": ["1", "2", "3"]}),
        ("a [ { b: 1 }, { b: 2 } ]", {"a": [{"b": ["1"]}, {"b": ["2"]}]}),
        ("a: []", {"a": []}),
        ("a: 'it''s' # not \"this", {"a": ["its"]}),
        (r'a: "\303\251\x41\u00e9\n\""', {"a": ['éAé\n"']}),
        (r'a: "\377"', {"a": ["\udcff"]}),
        ("[com.example/a.b] { c: 1 }", {"[com.example/a.b]": [{"c": ["1"]}]}),
        ("", {}),
        ("# only this", {}),
    ],
)
def test_each_form_is_read(text: str, message: Message) -> None:
    assert parse(text) == message


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a {\n b {\n }", "line 3: a '{' of line 1 is never closed"),
        ("a: [1, 2", "line 1: a '[' of line 1 is never closed"),
        ("a { }\n}", "line 2: a '}' closes what was never opened"),
        ("a { ]", "line 1: a '}' is missing before ']'"),
        ('a: "b\nc: 1', "line 1: a string does not end on its line: '\"b'"),
        ("a", "line 1: a ':' or '{' must follow 'a'"),
        ("a: }", "line 1: a value is missing before '}'"),
        ("a: [1 2]", "line 1: a ',' or ']' is missing before '2'"),
        ("a: 1 \\ b: 2", "line 1: there is a stray character: '\\\\ b: 2'"),
        ("{ a: 1 }", "line 1: a field must begin with its name, not '{'"),
        ("a {" * 200, "line 1: the braces are nested too deep"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(PbtxtError) as caught:
        parse(text)
    assert str(caught.value) == complaint
