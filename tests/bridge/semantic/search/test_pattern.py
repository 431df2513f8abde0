"""Patterns: what people write comes to exactly the bytes that it means, and what makes no sense is said."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.semantic.search.pattern import (
    MAX_ALTERNATIVES,
    MAX_EXPRESSION_CHARS,
    MAX_NEEDLE_BYTES,
    MAX_RULES_CHARS,
    BadPattern,
    Encoding,
    Pattern,
    PatternKind,
    parse_pattern,
)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("78 56 34 12", "78 56 34 12"),
        ("78563412", "78 56 34 12"),
        ("  DE ad\tBE ef ", "de ad be ef"),
        ("78 ?? 34 1?", "78 ?? 34 1?"),
        ("?f", "?f"),
        ("0x12345678", "78 56 34 12"),
        ("0X1", "01 00 00 00"),
        ("0x0000000012345678", "78 56 34 12 00 00 00 00"),
        ("0xffffffff81000000", "00 00 00 81 ff ff ff ff"),
        ("0x123456789", "89 67 45 23 01 00 00 00"),
        ("7f 45 4c 46 | 0x464c457f|4d 5a", "7f 45 4c 46 | 7f 45 4c 46 | 4d 5a"),
    ],
)
def test_bytes_and_numbers_as_people_write_them(text: str, means: str) -> None:
    assert str(parse_pattern(text)) == means


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "7",
        "78 5",
        "7 8",
        "xy",
        "0x",
        "0x12345678123456781",
        "??",
        "?? ??",
        "78 |",
        "| 78",
        "|",
        "78-56",
        "sshd",
    ],
)
def test_what_is_no_bytes_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(BadPattern, match=r"^[A-Z].*\.$"):
        parse_pattern(text)


@pytest.mark.parametrize(
    "text", ["00" * (MAX_NEEDLE_BYTES + 1), "0" * 10_000_000, " ".join(["00"] * MAX_NEEDLE_BYTES) + " 00"]
)
def test_what_is_too_long_is_refused(text: str) -> None:
    with pytest.raises(BadPattern, match="too many"):
        parse_pattern(text)
    with pytest.raises(BadPattern, match="too many"):
        Pattern(PatternKind.BYTES, text)


@given(st.binary(min_size=1, max_size=40))
def test_every_byte_string_can_be_written_and_is_looked_for_as_it_is(value: bytes) -> None:
    (needle,) = parse_pattern(value.hex(" ")).needles()
    assert (needle.value, needle.mask) == (value, b"\xff" * len(value))


@given(st.lists(st.sampled_from("0123456789abcdefABCDEF?"), min_size=2, max_size=20).map("".join))
def test_a_half_byte_is_a_digit_or_any(text: str) -> None:
    if len(text) % 2 or not text.strip("?"):
        with pytest.raises(BadPattern):
            parse_pattern(text)
        return
    (needle,) = parse_pattern(text).needles()
    for index in range(256):
        byte = f"{index:02x}"
        for at in range(0, len(text), 2):
            wanted = re.fullmatch(text[at : at + 2].lower().replace("?", "."), byte) is not None
            assert (index & needle.mask[at // 2] == needle.value[at // 2]) == wanted


def test_a_text_is_looked_for_in_both_encodings_each_once() -> None:
    utf_8, utf_16 = Pattern(PatternKind.TEXT, "aé").needles()
    assert (utf_8.value, utf_16.value) == (b"a\xc3\xa9", b"a\x00\xe9\x00")
    assert utf_16.name == "aé (UTF-16LE)"
    (only,) = Pattern(PatternKind.TEXT, "é", encodings=(Encoding.UTF_16_LE,)).needles()
    assert only.value == b"\xe9\x00"
    assert len(Pattern(PatternKind.TEXT, "a", alternatives=("a", "b", "a")).needles()) == 4


def test_bytes_of_a_guest_that_are_no_utf_8_can_be_looked_for() -> None:
    (needle,) = Pattern(PatternKind.TEXT, b"a\xff".decode("utf-8", "surrogateescape")).needles()
    assert needle.value == b"a\xff"
    with pytest.raises(BadPattern, match="cannot be written in utf-8 or utf-16le"):
        Pattern(PatternKind.TEXT, "\ud800")


@settings(max_examples=40)
@given(st.text(min_size=1, max_size=20), st.sampled_from(Encoding))
def test_ignoring_case_is_of_ascii_letters_and_of_nothing_else(text: str, encoding: Encoding) -> None:
    try:
        pattern = Pattern(PatternKind.TEXT, text, ignore_case=True, encodings=(encoding,))
    except BadPattern:
        return
    (needle,) = pattern.needles()
    for index, character in enumerate(text):
        before = len("".join(text[:index]).encode(encoding, "surrogateescape"))
        encoded = character.encode(encoding, "surrogateescape")
        for other in map(chr, range(128)):
            memory = other.encode(encoding)
            if len(memory) != len(encoded):
                continue
            matches = all(
                memory[i] & needle.mask[before + i] == needle.value[before + i] & needle.mask[before + i]
                for i in range(len(memory))
            )
            same = other == character or (
                other.isascii() and character.isascii() and other.lower() == character.lower()
            )
            assert matches == same, (character, other)


@pytest.mark.parametrize(
    ("kind", "value", "options", "why"),
    [
        (PatternKind.TEXT, "", {}, "nothing to look for"),
        (PatternKind.REGEX, "", {}, "nothing to look for"),
        (PatternKind.YARA, "", {}, "nothing to look for"),
        (PatternKind.TEXT, "a", {"encodings": ()}, "at least one encoding"),
        (PatternKind.TEXT, "a", {"alternatives": ("",)}, "nothing to look for"),
        (PatternKind.TEXT, "a", {"alternatives": ("b",) * MAX_ALTERNATIVES}, "At most 64"),
        (PatternKind.TEXT, "a" * (MAX_NEEDLE_BYTES + 1), {}, "too many"),
        (PatternKind.REGEX, "a", {"alternatives": ("b",)}, "Alternatives of a regex"),
        (PatternKind.REGEX, "a" * (MAX_EXPRESSION_CHARS + 1), {}, "4,097 characters are too many"),
        (PatternKind.YARA, "a" * (MAX_RULES_CHARS + 1), {}, "65,537 characters are too many"),
        (PatternKind.BYTES, "00", {"ignore_case": True}, "mean nothing to bytes"),
        (PatternKind.YARA, "rule a {condition: true}", {"ignore_case": True}, "mean nothing to yara"),
    ],
)
def test_what_makes_no_sense_is_refused(kind: PatternKind, value: str, options: dict[str, object], why: str) -> None:
    with pytest.raises(BadPattern, match=why):
        Pattern(kind, value, **options)  # type: ignore[arg-type]
