"""A photograph is a request: by stock HTTP over a real port, by the protocol's BYTES; what is none is one sentence."""

import asyncio
from base64 import b64encode, encodebytes
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from ddnn.bundle import Bundle
from ddnn.client import AsyncClient, AsyncFleet
from ddnn.picture import Picture, decode
from ddnn.policy import Policy
from ddnn.types import Array
from ddnn.wire import decode_response, encode_request
from ddnn_lab.in_process import INFER, Fleet
from networks import make_bundle
from real_port import Reply, post, serving

DEVICES = [0]
JPEG = {"content_type": "image/jpeg"}
PHOTOGRAPHS = [file.read_bytes() for file in sorted((Path(__file__).parents[2] / "photographs").glob("*.jpg"))]
"""Of the GroceryStoreDataset; the licence is beside them."""


@pytest.fixture
async def port(fleet: Fleet) -> AsyncIterator[int]:
    """Device 0 behind a real port."""
    fleet.use(wait_ms=0)
    async with serving(fleet.switch.apps["device-0"]) as port:
        yield port


def outputs(reply: Reply) -> dict[str, Array]:
    assert reply.status == 200, reply.body
    return dict(decode_response(reply.body, reply.headers.get("inference-header-content-length")).outputs)


def files(*contents: bytes | str) -> Array:
    rows = np.empty(len(contents), np.object_)
    rows[:] = [content.encode() if isinstance(content, str) else content for content in contents]
    return rows


def as_json(*contents: bytes | str, **parameters: Any) -> bytes:
    return encode_request({"picture": files(*contents)}, parameters=parameters, binary=False, binary_output=False)[0]


def png(size: tuple[int, int], **options: Any) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, "orange").save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize("file", PHOTOGRAPHS, ids=range(len(PHOTOGRAPHS)))
async def test_what_is_posted_is_seen_as_in_training(fleet: Fleet, port: int, file: bytes) -> None:
    shape = fleet.bundle.topology.devices[0].view.shape
    seen = outputs(await post(port, file, f"{INFER}?max_exit=device", **JPEG))
    view = decode(file, shape)[None]
    body = encode_request({"view": view}, parameters={"max_exit": "device"}, binary=False, binary_output=False)[0]
    known = outputs(await post(port, body))
    assert (seen["probabilities"] == known["probabilities"]).all()
    assert seen["class_name"].tolist() == [fleet.bundle.manifest.classes[seen["label"][0]].encode()]


async def test_the_bundle_says_how_and_goes_up_to_the_cloud(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "contained", devices=1)
    how, (device,) = Picture(resize="contain", filter="box", crop=0.8), bundle.topology.devices
    changed = device.model_copy(update={"view": device.view.model_copy(update={"picture": how})})
    topology = bundle.topology.model_copy(update={"devices": (changed,)})
    sealed = Bundle.seal(bundle.path, bundle.manifest.model_copy(update={"topology": topology}))
    Policy(bundle=sealed.fingerprint).write(bundle.path)
    fleet = Fleet(Bundle.open(bundle.path))
    fleet.start()
    wide = Image.open(BytesIO(PHOTOGRAPHS[0])).crop((0, 60, 192, 120))
    file = BytesIO()
    wide.save(file, "WEBP", lossless=True)
    view = decode(file.getvalue(), device.view.shape, how)
    assert (view != decode(file.getvalue(), device.view.shape)).any()
    async with serving(fleet.switch.apps["device-0"]) as port:
        seen = outputs(await post(port, file.getvalue(), f"{INFER}?threshold=0"))
    (known,) = await fleet.infer("device-0", {"view": view[None]}, threshold=0)
    assert (seen["probabilities"][0] == known.probabilities).all()
    assert seen["exit"].tolist() == [b"cloud"]
    await fleet.close()


@pytest.mark.parametrize("headers", [{}, JPEG, {"content_type": "application/x-www-form-urlencoded"}])
async def test_its_first_bytes_say_what_it_is(port: int, headers: dict[str, str]) -> None:
    assert outputs(await post(port, PHOTOGRAPHS[0], **headers))["label"].shape == (1,)


async def test_one_event_is_seen_by_several_cameras(tiny_bundle: Bundle) -> None:
    fleet = Fleet(Bundle.open(tiny_bundle.path), devices=[0, 1, 2])
    fleet.start()
    fleet.use(wait_ms=5000)
    async with serving(fleet.switch.apps["device-0"]) as first, serving(fleet.switch.apps["device-1"]) as second:
        path, file = f"{INFER}?wait_ms=2000", PHOTOGRAPHS[0]
        posted = await asyncio.gather(
            post(first, file, f"{path}&event=door%2F17", x_ddnn_deadline_ms="9000"),
            post(second, file, path, x_ddnn_event="door/17", x_ddnn_deadline_ms="9000"),
        )
    assert [outputs(reply)["devices"].sum() for reply in posted] == [2, 2]
    await fleet.close()


async def test_the_client_sends_photographs_as_they_are(fleet: Fleet) -> None:
    fleet.use(wait_ms=0)
    expected = decode(PHOTOGRAPHS[0], fleet.bundle.topology.devices[0].view.shape)[None]
    async with AsyncClient("http://device-0", transport=fleet.switch) as client:
        both = await client.infer([PHOTOGRAPHS[0], PHOTOGRAPHS[1] + bytes(3)], max_exit="device")
        (known,) = await client.infer(expected, max_exit="device")
        assert (both[0].label, both[0].confidence) == (known.label, known.confidence)
        assert both[0].class_name == fleet.bundle.manifest.classes[known.label]
    async with AsyncFleet(["http://device-0"] * 2, transport=fleet.switch) as cameras:
        answer = await cameras.answer_event([PHOTOGRAPHS[0], None], max_exit="device")
    assert (answer.label, answer.class_name) == (known.label, both[0].class_name)


async def test_the_query_has_the_options_of_a_request(port: int) -> None:
    path = f"{INFER}?id=photo-7&max_exit=device&threshold=0.5&timeout=4000000&wait_ms=1.5"
    reply = await post(port, png((20, 30)), path, x_ddnn_deadline_ms="3000")
    assert orjson.loads(reply.body)["id"] == "photo-7"
    assert outputs(reply)["exit"].tolist() == [b"device"]
    assert "device-picture;dur=" in reply.headers["server-timing"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("colour=red", "the query has 'colour', unknown or twice; expected some of event, id, max_exit"),
        ("event=a&event=b", "the query has 'event', unknown or twice"),
        ("event=", "an id of 0 bytes"),
        ("event=%ff", "the query is b'event=%ff'"),
        ("event", "the query is b'event'"),
        ("wait_ms=soon", "parameter 'wait_ms' is 'soon'; expected a number"),
        ("wait_ms=nan", "parameter 'wait_ms' is 'nan'"),
        ("threshold=2", "parameter 'threshold' is 2.0"),
        ("max_exit=moon", "parameter 'max_exit' is 'moon'"),
        ("id=" + "x" * 257, "`id` has 257 bytes"),
    ],
)
async def test_a_query_that_makes_no_sense_is_400(port: int, query: str, says: str) -> None:
    reply = await post(port, png((8, 8)), f"{INFER}?{query}")
    assert reply.status == 400
    assert says in reply.error


@pytest.mark.parametrize("binary", [True, False])
async def test_photographs_are_bytes_of_the_protocol(port: int, binary: bool) -> None:
    contents = PHOTOGRAPHS
    if binary:
        body, headers = encode_request({"picture": files(*contents)}, binary_output=False)
        reply = await post(port, body, **headers)
    else:
        reply = await post(port, as_json(*[b64encode(content) for content in contents]))
    alone = [outputs(await post(port, content)) for content in contents]
    assert outputs(reply)["label"].tolist() == [each["label"][0] for each in alone]
    assert outputs(await post(port, as_json(encodebytes(contents[0]))))["label"][0] == alone[0]["label"][0]


@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        (b"hello", JPEG, "a picture of 5 bytes begins with b'hello'; expected one of JPEG, PNG, WebP"),
        (b"", {"content_type": "image/png"}, "a picture of 0 bytes begins with b''"),
        (b"GIF89a" + bytes(20), {"content_type": "image/gif"}, "begins with b'GIF89a"),
        (PHOTOGRAPHS[0][:4000], {}, "a picture cannot be decoded"),
        (png((8, 8))[:30], JPEG, "a picture cannot be decoded"),
        (png((3001, 3000)), {}, "a picture is 3001 × 3000; expected at most 8333333 pixels"),
        (png((8, 8), save_all=True, append_images=[Image.new("RGB", (8, 8))]), {}, "animated, in 2 frames"),
        (as_json("AAAA"), {}, "a picture of 4 bytes begins with b'AAAA'"),
        (as_json(""), {}, "a picture of 0 bytes"),
        (as_json(b64encode(PHOTOGRAPHS[0])[:3001]), {}, "a picture of 3001 bytes begins"),
        (as_json(), {}, "'picture' has 0 rows"),
    ],
    ids=["text", "nothing", "gif", "cut", "head", "large", "animated", "base64", "empty", "cut base64", "no row"],
)
async def test_what_is_no_picture_is_400_with_a_sentence(
    fleet: Fleet, port: int, body: bytes, headers: dict[str, str], says: str
) -> None:
    reply = await post(port, body, **headers)
    assert reply.status == 400
    assert set(orjson.loads(reply.body)) == {"error", "code", "request_id", "tier", "retryable"}
    assert says in reply.error
    assert outputs(await post(port, png((9, 9))))["label"].shape == (1,)


async def test_a_picture_and_a_view_are_one_too_many(fleet: Fleet, port: int) -> None:
    both = {"picture": files(png((8, 8))), "view": fleet.view(0, slice(0, 1))}
    body, headers = encode_request(both)
    reply = await post(port, body, **headers)
    assert reply.error == "input tensors 'view' and 'picture' are both there; expected one of them"


@pytest.mark.parametrize("host", ["edge", "cloud"])
async def test_tiers_above_take_none(fleet: Fleet, host: str) -> None:
    async with serving(fleet.switch.apps[host]) as port:
        reply = await post(port, png((8, 8)), **JPEG)
    assert reply.status == 400
    assert f"the body is a picture; this {host} takes " in reply.error


async def test_a_device_whose_view_is_no_image_says_so(tmp_path: Path) -> None:
    from ddnn.export.bundle import sample_bundle

    fleet = Fleet(sample_bundle(tmp_path / "vectors", ((4,),)))
    fleet.start()
    async with serving(fleet.switch.apps["device-0"]) as port:
        reply = await post(port, png((8, 8)))
        assert reply.error == "the body is a picture; this device takes view, event"
        assert "input tensor 'picture' is unknown here" in (await post(port, as_json("AAAA"))).error
    await fleet.close()


async def test_bounds_of_pixels_and_bytes_are_settings(fleet: Fleet) -> None:
    fleet.settings |= {"max_pixels": 299, "max_body_bytes": 5000}
    fleet.start()
    async with serving(fleet.switch.apps["device-0"]) as port:
        assert "at most 99 pixels" in (await post(port, png((10, 10)))).error
        assert outputs(await post(port, png((9, 11))))["label"].shape == (1,)
        assert (await post(port, PHOTOGRAPHS[0])).status == 413
        many, headers = encode_request({"picture": files(*[b"x"] * 50)})
        assert "bytes of views; expected at most 5000" in (await post(port, many, **headers)).error


async def test_no_time_to_decode_is_504(fleet: Fleet, port: int) -> None:
    reply = await post(port, png((2800, 2800)), x_ddnn_deadline_ms="40")
    assert reply.status == 504


async def test_the_model_says_that_it_takes_pictures_and_names_classes(fleet: Fleet) -> None:
    described = {}
    for host in ("device-0", "edge"):
        async with fleet.client(host) as client:
            described[host] = (await client.get("/v2/models/ddnn")).json()
    inputs = {tensor["name"]: tensor for tensor in described["device-0"]["inputs"]}
    assert inputs["picture"] == {
        "name": "picture",
        "datatype": "BYTES",
        "shape": [-1],
        "parameters": {"optional": True},
    }
    assert [tensor["name"] for tensor in described["device-0"]["outputs"]][:2] == ["label", "class_name"]
    assert "class_name" not in [tensor["name"] for tensor in described["edge"]["outputs"]]
