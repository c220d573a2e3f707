"""Numbers as people read them."""

from typing import Any

import pytest
from rich.console import Console

from ddnn import formatting


@pytest.mark.parametrize(
    ("how", "values", "text"),
    [
        ("percent", (0.9837,), "98.4 %"),
        ("percent", (0.9837, 0), "98 %"),
        ("percent", (None,), "—"),
        ("interval", (0.98, 0.9871), "98.0 to 98.7 %"),
        ("interval", (0.5, 0.5), "50.0 %"),
        ("threshold", (0.41,), "0.41"),
        ("threshold", (0.0,), "off"),
        ("signed", (-0.25,), "−0.25"),
        ("signed", (-0.001,), "+0.00"),
        ("number", (1234.0,), "1,234"),
        ("number", (1234.56,), "1,234.6"),
        ("number", (None,), "—"),
        ("count", (1, "device"), "1 device"),
        ("count", (2000, "event"), "2,000 events"),
        ("size", (839,), "839 B"),
        ("size", (12_345,), "12.3 kB"),
        ("size", (1_859_000,), "1.9 MB"),
        ("milliseconds", (0.01234,), "12.3 ms"),
        ("clock", (3723,), "1:02:03"),
        ("clock", (123,), "2:03"),
    ],
)
def test_a_number_reads_the_same_everywhere(how: str, values: tuple[Any, ...], text: str) -> None:
    assert getattr(formatting, how)(*values) == text


def test_a_table_has_its_names_left_and_its_numbers_right() -> None:
    assert formatting.markdown(("exit", "share"), [("local", "20 %")]) == (
        "| exit | share |\n| --- | ---: |\n| local | 20 % |\n"
    )
    made = formatting.table("Exits", "exit", "share")
    made.add_row("local", "20 %")
    console = Console(width=40)
    with console.capture() as shown:
        console.print(made)
    assert [line.split() for line in shown.get().splitlines() if "local" in line] == [["local", "20", "%"]]
