"""Every setting, metric and flag is written down."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ddnn.cli.app import app
from ddnn.serving.event import TRANSITIONS
from ddnn.serving.metrics import Metrics
from ddnn.settings import Settings, setting_names
from ddnn.types import Exit

DOCS = Path(__file__).parent.parent / "shared" / "docs"


def rows(page: str) -> dict[str, list[str]]:
    """First cells of a page's tables, without their code marks, and the cells after them."""
    lines = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {first.strip("`"): rest for first, *rest in cells}


def test_every_setting_has_its_row_and_every_row_is_a_setting() -> None:
    assert rows("settings.md").keys() == setting_names()


def test_defaults_are_documented_as_they_are() -> None:
    documented = rows("settings.md")
    for key, field in Settings.model_fields.items():
        if isinstance(field.default, int | float | str):
            shown = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
            assert documented[f"DDNN_{key.upper()}"][0] == shown


def test_every_metric_has_its_row_with_its_kind_and_labels() -> None:
    documented = {re.sub(r"\{.*", "", name): (name, cells) for name, cells in rows("metrics.md").items()}
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in Metrics(Exit, range(2)).registry.collect()
    }
    assert documented.keys() == families.keys()
    for name, family in families.items():
        assert documented[name][1][0] == family.type
        for sample in family.samples:
            labels = set(sample.labels) - {"le"}
            assert all(label in documented[name][0] for label in labels)


def test_the_state_table_of_the_design_page_is_that_of_the_code() -> None:
    table = (DOCS / "design.md").read_text().split("| state | next |")[1].split("\n\n")[0]
    rows = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in table.splitlines()[2:]]
    assert rows == [tuple(map(str, transition)) for transition in TRANSITIONS]


def commands() -> Iterator[tuple[str, Any]]:
    group: Any = typer.main.get_command(app)
    yield from group.commands.items()


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_command_has_an_example_and_every_flag_a_sentence(name: str, command: Any) -> None:
    assert f"ddnn {name}" in (command.help or ""), "--help has no example"
    assert "Example" in command.help
    for parameter in command.params:
        assert parameter.help, f"{name} {parameter.name} has no help"
