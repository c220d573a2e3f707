"""The control room in a real browser, before a real fleet: seen, switched, tuned, by keyboard and on a phone."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from selenium.webdriver.common.keys import Keys

from browser import Browser, open_browser
from ddnn.bundle import shipped_bundle
from ddnn.fleet.processes import LocalFleet
from ddnn.fleet.room import show_fleet
from ddnn.links import LinkShape
from ddnn.types import Tier
from real_fleet import Sensors

pytestmark = pytest.mark.slow
ADMIN = "admin-of-this-site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def fleet(browser: Browser) -> Iterator[LocalFleet]:
    env = {"DDNN_ADMIN_TOKEN": ADMIN, "DDNN_SHOW_VIEWS": "1"}
    with LocalFleet(shipped_bundle(), base_port=0, env=env, shapes={Tier.EDGE: LinkShape()}) as fleet:
        fleet.wait_until_ready()
        yield fleet


@pytest.fixture(scope="module")
def room(fleet: LocalFleet) -> Iterator[str]:
    with show_fleet(fleet, 0, ADMIN) as address:
        yield address


@pytest.fixture
def sensors(fleet: LocalFleet, request: pytest.FixtureRequest) -> Iterator[Sensors]:
    seeing = Sensors(fleet.bundle, fleet, f"{request.node.originalname} {abs(hash(request.node.name)) % 1000} ")
    with seeing.client:
        yield seeing


@pytest.fixture(params=["ddnn up", "cloud"])
def page(request: pytest.FixtureRequest, room: str, fleet: LocalFleet) -> str:
    """Both places where it is served."""
    return room if request.param == "ddnn up" else f"{fleet.cloud_url}/#token={ADMIN}"


def is_live(browser: Browser) -> bool:
    return browser.text("#live-text") == "live" and len(browser.all(".tier.alive")) == 8


def move(browser: Browser, exit: str, value: float) -> None:
    """Move a threshold as a hand would: the value, then what the browser tells of it."""
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
    browser.run(script, browser.find(f"#threshold-{exit}"), value)


def local_threshold(fleet: LocalFleet) -> float:
    return float(httpx.get(f"{fleet.cloud_url}/v2/policy").json()["thresholds"]["local"])


def test_it_loads_and_an_event_is_there_as_it_is_answered(browser: Browser, page: str, sensors: Sensors) -> None:
    browser.open(page)
    browser.until(lambda: is_live(browser))
    assert "token" not in browser.driver.current_url
    (answer,) = sensors.see(slice(3, 4))
    id = f"{sensors._name}round 1 event 0"[:80]
    browser.until(lambda: browser.all(f"tr[data-id='{id}']"))
    row = browser.find(f"tr[data-id='{id}']")
    assert sensors.bundle.manifest.classes[answer.label] in row.text
    assert row.get_attribute("data-exit") == answer.exit.value
    assert len(browser.all(f"tr[data-id='{id}']")) == 1
    browser.until(lambda: len(browser.all(f"tr[data-id='{id}'] img")) == 6)
    assert browser.said() == []


def test_what_has_happened_is_there_after_a_reload(browser: Browser, room: str, sensors: Sensors) -> None:
    browser.open(room)
    browser.until(lambda: is_live(browser))
    sensors.see(slice(0, 5))
    browser.until(lambda: len(browser.all(f"tr[data-id^='{sensors._name}']")) == 5)
    browser.driver.refresh()
    browser.until(lambda: len(browser.all(f"tr[data-id^='{sensors._name}']")) == 5)


def test_a_threshold_is_tried_applied_and_rolled_back(
    browser: Browser, page: str, fleet: LocalFleet, sensors: Sensors
) -> None:
    before = local_threshold(fleet)
    browser.open(page)
    browser.until(lambda: is_live(browser))
    sensors.see(slice(0, 60))
    browser.until(lambda: browser.all("#threshold-local"))
    move(browser, "local", 0.6)
    browser.until(lambda: "recorded decisions" in browser.text("#trial-says"))
    assert local_threshold(fleet) == before
    assert browser.find("#comparison").is_displayed()
    browser.until(lambda: browser.find("#apply").is_enabled())
    browser.find("#apply").click()
    browser.until(lambda: "is in force" in browser.text("#trial-says"))
    assert local_threshold(fleet) == 0.6
    browser.find("#rollback").click()
    browser.until(lambda: local_threshold(fleet) == before)
    assert browser.said() == []


def test_a_policy_needs_the_admin_token_which_the_page_asks_for(browser: Browser, fleet: LocalFleet) -> None:
    browser.open(fleet.cloud_url)
    browser.run("sessionStorage.clear()")
    browser.driver.refresh()
    browser.until(lambda: browser.all("#threshold-local"))
    move(browser, "local", 0.4)
    browser.until(lambda: browser.find("#admin").is_displayed())
    browser.find("#admin-token").send_keys("not the token at all", Keys.ENTER)
    browser.until(lambda: "not the admin token" in browser.text("#trial-says, #admin-problem"))
    assert browser.run("return localStorage.length + document.cookie.length") == 0
    browser.said()  # the refusal is an error of the network, and wanted


def test_a_killed_tier_is_seen_and_understood_and_comes_back(
    browser: Browser, room: str, fleet: LocalFleet, sensors: Sensors, tmp_path: Path
) -> None:
    browser.open(room)
    browser.until(lambda: is_live(browser))
    browser.find("#tier-cloud-0 [data-do=kill]").click()
    browser.until(lambda: browser.all("#tier-cloud-0.gone"))
    assert "The cloud is gone." in browser.text("#notices")
    assert "gone" in browser.find("#link-edge-0").get_attribute("class")
    assert not fleet.members["cloud"].running
    browser.find("#tier-device-2 [data-do=pause]").click()
    browser.until(lambda: browser.all("#tier-device-2.paused"))
    sensors.see(slice(0, 12), devices=(0, 1, 3, 4, 5))
    browser.until(lambda: "○" in browser.text("#rows .seen"))
    browser.picture("control-room-killed", tmp_path, most=900)
    browser.find("#tier-cloud-0 [data-do=start]").click()
    browser.find("#tier-device-2 [data-do='go on']").click()
    browser.until(lambda: is_live(browser))
    assert browser.text("#notices .bad") == ""


def test_a_link_that_is_cut_is_told(browser: Browser, room: str, fleet: LocalFleet, sensors: Sensors) -> None:
    browser.open(room)
    browser.until(lambda: is_live(browser))
    browser.find("#tier-edge-0 [data-do='cut link']").click()
    browser.until(lambda: browser.all("#tier-edge-0 [data-do='mend link']"))

    def told() -> bool:
        sensors.see(slice(0, 2), threshold=0.0)  # to the cloud, if there were a way
        return "edge cannot reach cloud" in browser.text("#notices")

    browser.until(told)
    browser.find("#tier-edge-0 [data-do='mend link']").click()
    sensors.until_whole()


def test_a_switch_without_the_token_does_nothing(room: str, fleet: LocalFleet) -> None:
    url = room.partition("#")[0]
    asked = {"name": "cloud", "what": "kill"}
    assert httpx.post(f"{url}room/switch", json=asked).status_code == 401
    assert httpx.post(f"{url}room/switch", json=asked, headers={"authorization": "Bearer x"}).status_code == 403
    mine = {"authorization": f"Bearer {ADMIN}"}
    for wrong in ({"name": "x", "what": "kill"}, {"name": "cloud", "what": "start"}, ["kill"]):
        assert httpx.post(f"{url}room/switch", json=wrong, headers=mine).status_code == 400
    assert all(member.running for member in fleet.members.values())


def test_a_name_that_leads_to_loopback_is_not_answered(room: str) -> None:
    """Of a page elsewhere whose name was made to mean this machine."""
    url = room.partition("#")[0]
    assert httpx.get(f"{url}room/state").status_code == 200
    assert httpx.get(f"{url}room/state", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [("light", 1280, False), pytest.param("dark", 1280, True, marks=pytest.mark.long), ("phone", 390, True)],
)
def test_it_fits_and_axe_finds_no_serious_fault(
    browser: Browser, room: str, sensors: Sensors, tmp_path: Path, name: str, width: int, dark: bool
) -> None:
    browser.open(room, width=width, dark=dark)
    browser.until(lambda: is_live(browser))
    for first in range(0, 60, 6):  # some of which are for the edge and the cloud
        sensors.see(slice(first, first + 6), threshold=0.001 if first % 18 == 0 else None)
    browser.until(lambda: browser.all(f"tr[data-id^='{sensors._name}'] img"))
    browser.until(lambda: browser.all(".u-over"))
    move(browser, "local", 0.05)
    browser.until(lambda: "recorded decisions" in browser.text("#trial-says"))
    browser.until(lambda: browser.find("#frontier-figure").is_displayed())
    assert browser.run("return document.documentElement.scrollWidth") == width
    assert browser.faults() == []
    picture = Image.open(browser.picture(f"control-room-{name}", tmp_path))
    assert len(picture.getcolors(1 << 22) or ()) > 100
    shade = sum(picture.convert("L").resize((1, 1)).tobytes())
    assert (shade < 100) == dark


def test_the_api_page_needs_no_internet(browser: Browser, fleet: LocalFleet) -> None:
    browser.open(f"{fleet.cloud_url}/docs")
    browser.until(lambda: len(browser.all(".opblock")) > 8)
    assert "/v2/models/{model}/infer" in browser.text(".opblock-summary-path").replace("\u200b", "")
    assert browser.said() == []


def test_a_threshold_moves_by_the_keyboard(browser: Browser, room: str, sensors: Sensors) -> None:
    browser.open(room)
    browser.until(lambda: is_live(browser) and browser.all("#threshold-edge"))
    sensors.see(slice(0, 12))
    slider = browser.find("#threshold-edge")
    browser.run("document.getElementById('hours').focus()")
    for _ in range(20):
        if browser.driver.switch_to.active_element == slider:
            break
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
    browser.driver.switch_to.active_element.send_keys(Keys.ARROW_LEFT * 4)
    assert float(slider.get_attribute("value")) == pytest.approx(0.98)
    browser.until(lambda: "recorded decisions" in browser.text("#trial-says"))
