"""Answers go over the wire and come back, and nonsense from above is refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ddnn.answers import OUTPUTS, answers_to_outputs, encode_answers, outputs_to_answers
from ddnn.errors import BadInput
from ddnn.types import Answer, Array, Exit
from ddnn.wire import InferRequest, decode_response, encode_response

SURE = Answer(
    label=1,
    probabilities=np.array([0.25, 0.75, 0], np.float32),
    exit=Exit.EDGE,
    confidence=0.5,
    devices=np.array([True, False]),
    policy_version=3,
    bytes_up=140,
)
NAMES = ("tea", "café", "water")
ASKING = replace(SURE, label=-1, exit=Exit.LOCAL, need_features=True)
LATE = replace(SURE, exit=Exit.DEVICE, degraded=True, degraded_reason="edge: timeout — 5 ms", late=(1,))


def same(found: Answer, expected: Answer) -> None:
    for field in Answer.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))


@pytest.mark.parametrize("binary", [True, False])
def test_answers_come_back_as_they_were(binary: bool) -> None:
    answers = [SURE, ASKING, LATE]
    body, headers = encode_response(answers_to_outputs(answers), InferRequest("", {}, {}, None, binary))
    outputs = decode_response(body, headers.get("Inference-Header-Content-Length")).outputs
    found = outputs_to_answers(outputs, rows=3, classes=3, devices=2)
    for ours, theirs in zip(answers, found, strict=True):
        same(theirs, ours)


@pytest.mark.parametrize("names", [(), NAMES])
@pytest.mark.parametrize("need_features", [True, False])
@pytest.mark.parametrize("answers", [[SURE], [LATE], [SURE, ASKING, LATE], [LATE, LATE, SURE]])
@pytest.mark.parametrize(
    "request_",
    [
        InferRequest("", {}, {}, None, True),
        InferRequest("", {}, {}, None, False),
        InferRequest("7", {}, {}, None, True),
        InferRequest("", {}, {}, {"label": True, "exit": False}, True),
    ],
    ids=["all binary", "all JSON", "with an id", "some outputs"],
)
def test_the_short_way_to_bytes_gives_the_same_bytes(
    request_: InferRequest, answers: list[Answer], need_features: bool, names: tuple[str, ...]
) -> None:
    outputs = answers_to_outputs(answers, need_features=need_features, names=names)
    expected, named = encode_response(outputs, request_)
    for _ in range(2):  # the second time from what was kept of the first
        body, headers = encode_answers(answers, request_, need_features=need_features, names=names)
        assert body == expected
        assert headers == [(name.lower().encode(), value.encode()) for name, value in named.items()]


def test_only_the_edge_speaks_of_features() -> None:
    outputs = answers_to_outputs([SURE], need_features=False)
    assert "need_features" not in outputs
    same(outputs_to_answers(outputs)[0], SURE)


def test_outputs_are_those_of_the_protocol() -> None:
    assert list(answers_to_outputs([SURE], names=NAMES, late=True)) == list(OUTPUTS)
    assert not {"class_name", "late"} & answers_to_outputs([SURE]).keys()


def test_a_device_names_the_class_and_what_has_none_is_unnamed() -> None:
    outputs = answers_to_outputs([SURE, ASKING], names=NAMES)
    assert [answer.class_name for answer in outputs_to_answers(outputs)] == ["café", ""]


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("label", lambda x: x[:1], r"'probabilities' is FP32 \[2, 3\]; expected FP32 \[1, K\]"),
        ("label", lambda x: x.astype(np.int32), r"'label' is INT32 \[2\]; expected INT64"),
        ("label", lambda x: x + 2, "'label' leaves the range -1 to 2"),
        ("label", lambda x: x - 3, "'label' leaves the range -1 to 2"),
        ("probabilities", lambda x: x[0], r"'probabilities' is FP32 \[3\]"),
        ("probabilities", lambda x: x * np.float32(np.nan), "'probabilities' leaves the range 0 to 1"),
        ("confidence", lambda x: x + np.float32(9), "'confidence' leaves the range 0 to 1"),
        ("devices", lambda x: x[:, :0], r"'devices' is BOOL \[2, 0\]"),
        ("exit", lambda x: x + b"!", "'exit' holds b'edge!'; expected one of device, local, edge, cloud"),
        ("degraded", lambda x: x[:, None], r"'degraded' is BOOL \[2, 1\]"),
        ("policy_version", lambda x: -x, "'policy_version' is negative"),
        ("bytes_up", lambda x: -x, "'bytes_up' is negative"),
        ("need_features", lambda x: x.astype(np.uint8), "'need_features' is UINT8"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(name: str, change: Callable[[Array], Array], says: str) -> None:
    outputs = answers_to_outputs([SURE, SURE])
    outputs[name] = change(outputs[name])
    with pytest.raises(BadInput, match=says):
        outputs_to_answers(outputs, devices=2)


@pytest.mark.parametrize("name", [name for name in OUTPUTS if name not in ("need_features", "class_name", "late")])
def test_a_missing_output_is_named(name: str) -> None:
    outputs = answers_to_outputs([SURE])
    del outputs[name]
    with pytest.raises(BadInput, match=f"output '{name}' is missing"):
        outputs_to_answers(outputs)


def test_sizes_the_reader_expects_are_checked() -> None:
    outputs = answers_to_outputs([SURE])
    for sizes in ({"rows": 2}, {"classes": 4}, {"devices": 3}):
        with pytest.raises(BadInput, match="expected"):
            outputs_to_answers(outputs, **sizes)


def test_strange_bytes_in_the_reason_do_no_harm() -> None:
    outputs = answers_to_outputs([LATE])
    outputs["degraded_reason"] = np.array([b"\xff"], np.object_)
    assert outputs_to_answers(outputs)[0].degraded_reason == "\N{REPLACEMENT CHARACTER}"
