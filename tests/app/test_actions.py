"""Actions: found by name and key, arguments converted and checked, refusals that say why."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.actions import Action, ActionDisabled, ActionRegistry, BadArguments, Param, UnknownAction
from app.command_palette import entries_for, fuzzy_match


def _echo(**kwargs: Any) -> dict[str, Any]:
    return kwargs


@pytest.fixture
def registry() -> ActionRegistry:
    registry = ActionRegistry()
    registry.add(
        Action(
            id="machine.launch",
            title="Launch…",
            category="Machine",
            run=_echo,
            params=(
                Param("guest", "choice", required=True, choices=lambda: ("demo", "boot-sector")),
                Param("ram", "size"),
                Param("cold", "flag"),
            ),
            shortcuts=("Ctrl+N",),
        ),
        Action(id="view.fit", title="Fit to view", category="View", run=_echo, shortcuts=("F",), keywords="whole all"),
        Action(
            id="view.go_to",
            title="Go to address…",
            category="View",
            run=_echo,
            params=(Param("address", "address", True),),
        ),
        Action(
            id="machine.stop",
            title="Stop machine",
            category="Machine",
            run=_echo,
            why_not=lambda: "no machine is selected",
        ),
        Action(
            id="view.orbit",
            title="Orbit",
            category="View",
            run=_echo,
            params=(Param("dx", "number", True), Param("n", "integer")),
            in_palette=False,
        ),
        Action(
            id="console.send",
            title="Send to the console…",
            category="Console",
            run=_echo,
            params=(Param("text", "text", True),),
        ),
    )
    return registry


def test_arguments_by_name_and_position(registry: ActionRegistry) -> None:
    expected = {"guest": "demo", "ram": 96 << 20, "cold": True}
    assert registry.run("machine.launch", {"guest": "demo", "ram": "96M", "cold": "yes"}) == expected
    assert registry.run("machine.launch", ["demo", 96 << 20, True]) == expected
    assert registry.run("machine.launch", {"guest": "demo", "ram": None}) == {"guest": "demo"}
    assert registry.run("view.go_to", ["0x7c00"]) == {"address": 0x7C00}
    assert registry.run("view.go_to", [4096]) == {"address": 4096}
    assert registry.run("view.orbit", [1.5, "0x10"]) == {"dx": 1.5, "n": 16}
    assert registry.run("view.orbit", ["-2", 3.0]) == {"dx": -2.0, "n": 3}


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("machine.launch", {}, "needs “guest”"),
        ("machine.launch", {"guest": "nt"}, "none of demo, boot-sector"),
        ("machine.launch", {"guest": "demo", "ram": "lots"}, "ram:"),
        ("machine.launch", {"guest": "demo", "cold": "maybe"}, "neither on nor off"),
        ("machine.launch", {"guest": "demo", "hot": 1}, "knows no “hot”"),
        ("machine.launch", ["demo", 1, True, 4], "too many"),
        ("view.go_to", [-1], "not a address"),
        ("view.go_to", [True], "not bool"),
        ("view.go_to", [[1]], "not list"),
        ("view.orbit", ["nan"], "finite"),
        ("view.orbit", [1, 1.5], "whole"),
        ("view.orbit", [float("inf"), 1], "finite"),
        ("view.orbit", [1, float("inf")], "n:"),
        ("view.fit", [1], "takes no arguments"),
        ("console.send", ["x" * 20_000], "longer than"),
    ],
)
def test_bad_arguments_say_which(registry: ActionRegistry, name: str, args: Any, says: str) -> None:
    with pytest.raises(BadArguments, match=says):
        registry.run(name, args)


def test_choices_may_be_typed_in_any_case(registry: ActionRegistry) -> None:
    assert registry.run("machine.launch", ["Boot-Sector"]) == {"guest": "boot-sector"}
    names = Param("name", "choice", choices=lambda: ("sh", "SH"))
    assert names.convert("sh") == "sh"
    with pytest.raises(BadArguments, match="is none of"):
        names.convert("Sh")  # either could be meant


def test_unknown_and_disabled_say_why(registry: ActionRegistry) -> None:
    with pytest.raises(UnknownAction, match=r"view\.fit"):
        registry.run("view.fitt")
    with pytest.raises(UnknownAction, match=r"actions\.list"):
        registry.run("zzzz")
    with pytest.raises(ActionDisabled, match="Stop machine: no machine is selected"):
        registry.run("machine.stop")
    assert not registry.get("machine.stop").enabled
    assert "machine.stop" in registry


def test_names_and_keys_are_unique(registry: ActionRegistry) -> None:
    with pytest.raises(ValueError, match="two actions"):
        registry.add(Action(id="view.fit", title="x", category="x", run=_echo))
    with pytest.raises(ValueError, match=r"F is both view\.fit and other"):
        registry.add(Action(id="other", title="x", category="x", run=_echo, shortcuts=("F",)))
    fit = registry.for_shortcut("F")
    assert fit is not None
    assert fit.id == "view.fit"
    assert registry.for_shortcut("Ctrl+F") is None


def test_description_is_for_scripts(registry: ActionRegistry) -> None:
    described = registry.get("machine.launch").describe()
    assert described["params"] == [
        {"name": "guest", "kind": "choice", "required": True, "help": ""},
        {"name": "ram", "kind": "size", "required": False, "help": ""},
        {"name": "cold", "kind": "flag", "required": False, "help": ""},
    ]
    assert registry.get("machine.launch").needs_input
    assert [a.id for a in registry][:2] == ["machine.launch", "view.fit"]


def test_palette_offers_choices_and_addresses(registry: ActionRegistry) -> None:
    titles = [e.title for e in entries_for("", registry)]
    assert titles == [
        "Launch demo",
        "Launch boot-sector",
        "Fit to view",
        "Go to address…",
        "Send to the console…",
        "Stop machine",
    ]
    top = entries_for("launch boot", registry)[0]
    assert (top.action, top.args) == ("machine.launch", {"guest": "boot-sector"})
    assert entries_for("fit", registry)[0].action == "view.fit"
    assert entries_for("whole", registry)[0].action == "view.fit"
    assert entries_for("stop", registry)[0].disabled == "no machine is selected"
    assert [e.args["address"] for e in entries_for("0x7c00", registry) if "address" in e.args] == [0x7C00]
    assert [(e.args["address"], e.detail) for e in entries_for("1000", registry) if "address" in e.args] == [
        (1000, "Physical address, decimal 1,000"),
        (0x1000, "Physical address, hexadecimal"),
    ]
    assert entries_for("b8000", registry, can_go="no machine")[0].disabled == "no machine"
    assert all("address" not in e.args for e in entries_for("add", registry))
    assert all("address" not in e.args for e in entries_for("0x" + "f" * 30, registry))


def test_palette_takes_a_typed_argument(registry: ActionRegistry) -> None:
    line = entries_for("send", registry)[0]
    assert line.fills == "console.send "
    typed = entries_for("console.send uname -a", registry)[0]
    assert (typed.action, typed.args) == ("console.send", {"text": "uname -a"})
    assert entries_for("console.send ", registry)[0].fills == "console.send "


@given(st.text(alphabet="ab ", min_size=1, max_size=5), st.text(alphabet="ab -", max_size=10))
def test_fuzzy_matches_what_it_says(needle: str, text: str) -> None:
    hit = fuzzy_match(needle, text)
    ways = [_ways(word, text) for word in needle.split()]
    assert (hit is not None) == all(ways)
    if hit is not None:
        assert set(hit[1]) in [set().union(*choice) for choice in itertools.product(*ways)]


def _ways(word: str, text: str) -> list[set[int]]:
    """By trying all: each way in which `word` lies in `text` whole, or each letter at a beginning or after the last."""
    found = []
    for positions in itertools.combinations(range(len(text)), len(word)):
        if any(text[p] != letter for p, letter in zip(positions, word, strict=True)):
            continue
        whole = positions == tuple(range(positions[0], positions[0] + len(word)))
        begins = [p == 0 or text[p - 1] in " -" for p in positions]
        runs = [i > 0 and positions[i] == positions[i - 1] + 1 for i in range(len(positions))]
        if whole or all(b or r for b, r in zip(begins, runs, strict=True)):
            found.append(set(positions))
    return found


def test_beginnings_score_higher() -> None:
    def score(needle: str, text: str) -> float:
        hit = fuzzy_match(needle, text)
        assert hit is not None
        return hit[0]

    assert score("fit", "Fit to view") > score("fit", "Benefit")
    assert score("stop", "Stop") > score("stop", "Stop everything now")
    hit = fuzzy_match("gota", "Go to address")
    assert hit is not None
    assert hit[1] == (0, 1, 3, 6)
    assert fuzzy_match("laun", "Reset the layout of the panels") is None


@given(st.text(max_size=40))
def test_any_query_is_answered(query: str) -> None:
    registry = ActionRegistry()
    registry.add(Action(id="a.b", title="Alpha beta", category="C", run=_echo))
    for entry in entries_for(query, registry):
        assert entry.action in ("a.b", "view.go_to")
