"""What `ddnn status` says of audits."""

from typing import Any

from ddnn.drift import DriftMonitor
from ddnn.fleet.status import audit_line
from ddnn.policy import Audits, Policy, Promise, PromisedRecall
from ddnn.types import Exit


def said(watch: DriftMonitor, share: float = 0.1) -> dict[str, Any]:
    return {"share": share, "off": None, **watch.document()}


def watch(promised: float) -> DriftMonitor:
    policy = Policy(bundle="b", audits=Audits(share=0.1), promise=Promise(disagreement={Exit.LOCAL: promised}))
    return DriftMonitor(policy, exits=(Exit.LOCAL, Exit.EDGE), clock=lambda: 0.0)


def test_a_tier_that_audits_nothing_says_nothing() -> None:
    assert audit_line({}) is None
    assert audit_line(said(watch(0.1), share=0.0)) is None
    assert audit_line({"share": 0.0, "off": "several edges", "exits": {}}) is None


def test_one_that_would_and_has_not_says_so() -> None:
    assert audit_line(said(watch(0.1))) == "audits 10.0 % of its sure answers; none yet"
    assert audit_line({"share": 0.1, "off": "several edges", "exits": {}}) == "no audits: several edges"


def test_estimates_with_what_was_promised_and_red_on_alarm() -> None:
    watched = watch(0.1)
    for n in range(100):
        watched.audited(Exit.LOCAL, same=n % 20 != 0)
    line = audit_line(said(watched)) or ""
    assert line.startswith("audits: local 5.0 % unlike the cloud (2.2 % to 11.2 %, 100 audited), promised 10.0 %")
    assert "alarm" not in line
    for _ in range(30):
        watched.audited(Exit.LOCAL, same=False)
    line = audit_line(said(watched)) or ""
    assert "[red]local" in line
    assert "alarm since 1970-01-01 00:00:00 UTC[/]" in line


def test_a_promised_class_is_named_beside_the_exits() -> None:
    recall = {3: PromisedRecall(least=0.9, events=60, missed=0.1)}
    promise = Promise(disagreement={Exit.LOCAL: 0.5}, recall=recall)
    watched = DriftMonitor(
        Policy(bundle="b", audits=Audits(share=0.1), promise=promise), exits=(Exit.LOCAL,), clock=lambda: 0.0
    )
    for n in range(60):
        watched.audited(Exit.LOCAL, same=n % 2 == 0, label=3 if n < 40 else 1)
    line = audit_line(said(watched)) or ""
    assert "[red]class 3 50.0 % the cloud's (35.2 % to 64.8 %, 40 audited), promised 90.0 %, alarm since" in line
    assert "class 1" not in line
