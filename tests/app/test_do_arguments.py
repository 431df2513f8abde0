"""Words on the command line of `glassbox do` become the action's arguments."""

import pytest

from app.commands.do import parse_arguments
from app.failures import UsageError


def test_words_in_order_are_a_list_with_json_scalars_as_such() -> None:
    assert parse_arguments(["demo", "42", "1.5", "true", "null", "0x7c00", "[1]"]) == [
        "demo",
        42,
        1.5,
        True,
        None,
        "0x7c00",
        "[1]",
    ]


def test_named_words_are_a_mapping() -> None:
    assert parse_arguments(["guest=demo", "ram=96M", "cold=true"]) == {"guest": "demo", "ram": "96M", "cold": True}


def test_an_equals_sign_in_plain_text_is_text() -> None:
    assert parse_arguments(["echo a=b"]) == ["echo a=b"]


def test_mixing_both_forms_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="not mixed"):
        parse_arguments(["demo", "ram=96M"])
