"""The report: what it tells, and that the page stands alone."""

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ddnn.tuning
from ddnn.evaluation import Scores, decide
from ddnn.formatting import percent
from ddnn.links import LinkShape
from ddnn.policy import Policy
from ddnn.tuning import CostModel, Objective, Risk, Sample, choose, tune_policy
from ddnn.tuning.comparison import DROPS, comparison
from ddnn.tuning.cost import Links
from ddnn.tuning.criteria import compare_criteria
from ddnn.tuning.guarantee import guarantee
from ddnn.tuning.nearest import unmet
from ddnn.tuning.report import page, report, write_report
from ddnn.types import Exit, Floats
from made_scores import make_topology

CLASSES = 4
POLICY = Policy(bundle="b")


def made(events: int, *, split: str, edges: int = 1, devices: int = 4, section: bool = True, seed: int = 0) -> Scores:
    """Scores that know the class better the higher the exit, and are surer where they are right."""
    rng = np.random.default_rng(seed)
    y = rng.integers(CLASSES, size=events)
    hard = rng.random(events)[:, None, None]

    def at(width: int, skill: float) -> Floats:
        signal = np.eye(CLASSES)[y][:, None] * skill * 4 * (1 - hard)
        return (rng.normal(size=(events, width, CLASSES)) + signal).astype(np.float32)

    topology = make_topology(devices, edges, section)
    present = rng.random((events, devices)) < 0.9
    return Scores(
        device=at(devices, 0.5),
        local=at(edges, 0.8),
        edge=at(edges, 1.0) if section else None,
        cloud=at(1, 1.5)[:, 0],
        present=present,
        y=y,
        y_dev=np.where(present, y[:, None], -1),
        topology=topology,
        source={"data": "made <up>", "fingerprint": "f", "split": split},
    )


def both(**how: Any) -> dict[str, Scores]:
    return {"validation": made(160, split="validation", **how), "test": made(120, split="test", seed=1, **how)}


def document(scores: dict[str, Scores], cost: CostModel | None = None, **extras: Any) -> dict[str, Any]:
    samples = {split: Sample(each, cost) for split, each in scores.items()}
    tuned = tune_policy(samples, POLICY, Objective())
    return {
        **tuned.document,
        "written": False,
        "bundle": {"name": "tiny & small", "fingerprint": "0123456789abcdef"},
        "data": {"name": "made <up>", "fingerprint": "f"},
        "asked": "The lowest cost.",
        "study": comparison(samples, tuned.policy, tuned.points),
        **extras,
    }


class Outline(HTMLParser):
    """The text of a page; fails where a tag is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.said = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag != "meta":
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data


@pytest.mark.parametrize(
    ("edges", "section"), [(2, True), *(pytest.param(1, own, marks=pytest.mark.long) for own in (True, False))]
)
def test_the_study_tells_what_the_policies_do(edges: int, section: bool) -> None:
    scores, cost = both(edges=edges, section=section), CostModel("body")
    samples = {split: Sample(each, cost) for split, each in scores.items()}
    policy = choose(samples["validation"], POLICY).policy
    told = comparison(samples, policy)
    assert told["search"]["exact"] == (edges == 1)
    assert set(told) == {"search", "frontier", "alone", "alternatives", "sweeps", "reliability"}
    points = [*told["frontier"], *(point for tried in told["sweeps"].values() for point in tried)]
    for point in points[:: max(1, len(points) // 12)]:
        limits = policy.thresholds.model_copy(update=point["thresholds"])
        other = policy.model_copy(update={"thresholds": limits})
        for split, each in scores.items():
            decisions = decide(each, other)
            assert point[split]["accuracy"] == pytest.approx(decisions.accuracy(each.y))
            assert point[split]["cost"] == pytest.approx(cost.spent(each, decisions, "staged").mean())
            for exit, share in point[split]["exit_share"].items():
                assert share == pytest.approx(decisions.share(Exit(exit)))
    assert told["alone"]["cloud"]["test"]["accuracy"] == samples["test"].cloud_right.mean()
    assert told["alone"]["local"]["validation"]["exit_share"]["local"] == scores["test"].there(Exit.CLOUD).any()


def test_wider_margins_never_cost_more_and_keep_to_theirs() -> None:
    samples = {split: Sample(each) for split, each in both().items()}
    told = comparison(samples, choose(samples["validation"], POLICY).policy)["alternatives"]
    assert [each["max_accuracy_drop"] for each in told] == list(DROPS)
    spent_on = [each["validation"]["cost"]["mean"] for each in told]
    assert spent_on == sorted(spent_on, reverse=True)
    for each in told:
        low = each["validation"]["cloud_accuracy"] - each["max_accuracy_drop"]
        assert each["validation"]["accuracy"] >= low - 1e-9


def test_the_page_stands_alone_and_says_both_sizes() -> None:
    told = document(both())
    text = page(told)
    seen = Outline(text)
    assert not seen.open
    assert seen.tags.count("svg") == 3
    assert all(link.startswith("#") for link in seen.links)
    assert "default-src 'none'" in text
    assert "script" not in seen.tags
    for words in (
        "Thresholds of tiny & small",
        "made <up>: chosen on 160 validation events, reported on 120 test events.",
        "The lowest cost.",
        "No others of the",
        "What other margins would cost",
        "0.25 points",
        "What the policy promises",
        "overall accuracy, %",
        "payload bytes",
    ):
        assert words in seen.said
    assert page(told) == text, "the same document gives the same page"


def test_plots_take_their_ink_from_the_page() -> None:
    text = page(document(both()))
    svg = text[text.index("<svg") : text.rindex("</svg>")]
    assert "currentColor" in svg
    for fixed in ("#000000", "#ffffff", "#010203", "<metadata"):
        assert fixed not in svg


def test_without_matplotlib_there_is_a_sentence_and_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    told = document(both(section=False))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "ddnn.tuning.plots", raising=False)
    monkeypatch.delattr(ddnn.tuning, "plots", raising=False)
    seen = Outline(page(told))
    assert "svg" not in seen.tags
    assert "There are no plots: they need matplotlib" in seen.said
    assert "What other margins would cost" in seen.said


def test_criteria_and_a_guarantee_are_told_with_their_evidence() -> None:
    scores = both()
    samples = {split: Sample(each) for split, each in scores.items()}
    policy, evidence = guarantee(samples["validation"], POLICY, Risk(0.1, 0.9))
    compared = compare_criteria(samples, policy)
    seen = Outline(page(document(scores, guarantee=evidence, criteria=compared)))
    testing = evidence["events"]["testing"]
    for words in (
        "at most 10.00 % of all events are lost",
        f"{testing} others",
        "p-value",
        "chosen",
        "gain over entropy",
    ):
        assert words in seen.said


def test_a_page_shows_what_is_done_to_each_class() -> None:
    names = ["<one>", "two", "three", "four"]
    samples = {split: Sample(each, names=names) for split, each in both().items()}
    aim = Objective(0.3, min_recall={0: 0.6})
    tuned = tune_policy(samples, POLICY, aim)
    by_class = tuned.document["after"]["test"]["by_class"]
    assert by_class["names"] == names
    told = document(both()) | tuned.document | {"study": comparison(samples, tuned.policy, tuned.points, aim)}
    told["unmet"] = unmet(samples["validation"], tuned.policy, Objective(0.3, min_recall={1: 1.0}))
    seen = Outline(page(told))
    for words in (
        "recall before",
        "balanced accuracy",
        "the worst",
        "by class (row) and answer (column)",
        "missed at most",
    ):
        assert words in seen.said
    assert "recall of class two is" in seen.said
    assert seen.said.count("<one>") >= 4
    for share in by_class["recall"]:
        assert percent(share) in seen.said


def test_latency_says_its_links_and_what_is_left_out() -> None:
    cost = CostModel("latency", links=Links(LinkShape(0.005, 5e7), shared=True))
    seen = Outline(page(document(both(), cost)))
    for words in (
        "device-edge 5 ms, 50 Mbit/s shared",
        "edge-cloud 0 ms, any rate",
        "no profile was given",
        "left out",
    ):
        assert words in seen.said
    assert "ms until its answer" in seen.said


def test_a_report_is_both_files(tmp_path: Path) -> None:
    told = document(both())
    folder = tmp_path / "report"
    folder.mkdir()
    write_report(folder, report(told))
    assert sorted(file.name for file in folder.iterdir()) == ["tune.html", "tune.json"]
    assert json.loads((folder / "tune.json").read_text()) == json.loads(json.dumps(told))
    assert page(json.loads((folder / "tune.json").read_text())) == (folder / "tune.html").read_text()


def test_a_page_says_how_far_the_search_went() -> None:
    told = document(both())
    told["study"]["search"] |= {"exact": False, "largest_loss": {"wrong_answers": 4, "cost": None}}
    assert "better by at most 2.500 % of accuracy" in page(told)


def test_a_page_of_validation_alone_has_no_test() -> None:
    scores = {"validation": made(160, split="validation")}
    seen = Outline(page(document(scores)))
    assert "160 validation events; no test." in seen.said
    assert "frontier, test" not in seen.said
