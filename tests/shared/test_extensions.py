"""Extensions: which names are resolved, and which are refused."""

import json
from pathlib import Path

import pytest

from ddnn.errors import BadConfig
from ddnn.extensions import is_extension, refuse_unlisted, resolve


def test_a_name_is_a_module_and_an_attribute() -> None:
    assert resolve("json:dumps", "criterion") is json.dumps
    assert [is_extension(name) for name in ("a:b", "a.b:c", "entropy", "a.b", ":b", "a:", "a:b.c", "a b:c")] == [
        *[True] * 2,
        *[False] * 6,
    ]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("luck", r"criterion is 'luck'; expected one of entropy, package\.module:attribute"),
        ("no.such:thing", "criterion is 'no.such:thing': the module no.such cannot be imported .No module named 'no'"),
        ("json:nothing", "the module json has no 'nothing'"),
        ("math:pi", "found a float; expected something that can be called"),
    ],
)
def test_what_cannot_be_resolved_is_refused_in_a_sentence(name: str, problem: str) -> None:
    with pytest.raises(BadConfig, match=problem):
        resolve(name, "criterion", ["entropy"])


def test_a_module_that_fails_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_extension.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadConfig, match=r"failing_extension cannot be imported \(division by zero\)"):
        resolve("failing_extension:make", "section")


def test_a_served_tier_takes_only_what_is_listed() -> None:
    refuse_unlisted(["entropy", "mine.criteria:luck", "yours:it"], ["mine", "yours"])
    for allowed in ((), ("min", "mine.other")):
        with pytest.raises(BadConfig, match="is an extension that DDNN_EXTENSIONS does not list"):
            refuse_unlisted(["mine.criteria:luck"], allowed)
