"""The pages of the diagnostics: each code has one, and its examples do what they say."""

import pytest

from ecad_dsl.cli.explain import examples, page
from ecad_dsl.errors import EcadError
from ecad_dsl.language import TITLES, Components, Program, Rule, recover
from ecad_dsl.language.tree import Action
from ecad_dsl.models import load_spec
from ecad_dsl.schedule import CompileError, check, compile, parse


def compiled(text: str) -> list[str]:
    with pytest.raises(CompileError) as error:
        compile(parse(text))
    return [diagnostic.code for diagnostic in error.value.diagnostics]


def huge() -> list[str]:
    rule = Rule(Action.CACHE, Components(("all",)))
    return [d.code for d in check(Program((rule,)), load_spec("pixart-alpha").resized({"blocks": 10**6}), 100)]


# What no short text provokes, or no text alone.
OTHERS = {
    "E101": lambda: [d.code for d in recover(b"cache \xff")[1]],
    "E103": lambda: [d.code for d in recover("#" * (1 << 20) + "#")[1]],
    "E104": lambda: [d.code for d in recover("cache all\n" * 10_001)[1]],
    "E106": huge,
    "E114": lambda: [d.code for d in recover("cache\n" * 101)[1]],
    "E215": lambda: compiled("steps 20\ncache all"),
    "E216": lambda: compiled("model pixart-alpha\ncache all"),
}


@pytest.mark.parametrize("code", TITLES)
def test_the_example_of_a_page_provokes_its_code_and_the_second_one_is_right(code: str) -> None:
    assert page(code).startswith(f"{code}: {TITLES[code]}\n")
    if code in OTHERS:
        assert examples(code) == []
        assert code in OTHERS[code]()
        return
    wrong, right = examples(code)
    assert {d.code for d in wrong.findings()} == {code}
    assert f"[{code}]" in page(code)
    assert page(code).count(f"$ {wrong.command}") == 1
    left = right.findings()
    assert not any(d.is_error or d.code == code for d in left)


def test_an_unknown_code_is_told_which_there_are() -> None:
    with pytest.raises(EcadError, match=r"no code E299; the codes are E101 to E114, E201 to E219, W301 to W309"):
        page("E299")
