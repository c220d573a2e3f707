"""The protocol's page says what the code does."""

import typing
from pathlib import Path

import pytest

from ddnn import errors
from ddnn.answers import OUTPUTS
from ddnn.errors import DDNNError
from ddnn.uplink import Reason
from ddnn.wire import DATATYPES, HEADER_LENGTH

PAGE = (Path(__file__).parents[2] / "shared" / "docs" / "protocol.md").read_text()


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_output_is_described_as_it_is(name: str) -> None:
    datatype, letters = OUTPUTS[name]
    assert f"| `{name}` | {datatype} [{', '.join(letters)}] |" in PAGE


@pytest.mark.parametrize("reason", typing.get_args(Reason))
def test_every_reason_of_a_degraded_answer_is_named(reason: str) -> None:
    assert f"`{reason}`" in PAGE


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_a_tier_answers_with_is_listed(name: str) -> None:
    error: type[DDNNError] = getattr(errors, name)
    on_the_wire = error.status not in (400, 500) and error.code != "UPLINK_FAILED"
    if on_the_wire or error in (errors.BadInput, DDNNError):
        row = next(line for line in PAGE.splitlines() if f"`{error.code}`" in line and line.startswith("| "))
        assert str(error.status) in row


def test_the_binary_example_has_the_length_it_says() -> None:
    block = PAGE.split("POST /v2/models/ddnn/infer HTTP/1.1")[1].split("```")[0]
    header = "".join(line.strip() for line in block.split("\n\n")[1].splitlines() if line.lstrip().startswith("{"))
    assert f"{HEADER_LENGTH}: {len(header)}" in block
    assert f"{len(header)} bytes of JSON" in PAGE


def test_datatypes_are_those_of_the_codec() -> None:
    ends = {"UINT16", "UINT32", "INT16", "INT32"}  # within the ranges the page gives
    assert all(name in PAGE for name in DATATYPES.keys() - ends)
