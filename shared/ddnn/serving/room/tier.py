"""A tier's part in the control room: it takes the reports of those below it; a cloud also shows what they tell."""

from hmac import compare_digest

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from ddnn.errors import BadInput, Forbidden, NotFound, Unauthorized
from ddnn.serving.http import caller, read_body
from ddnn.serving.policy_routes import MOST_BYTES, authorise, authorise_reading, proposed_to
from ddnn.serving.room.board import Board
from ddnn.serving.room.history import History
from ddnn.serving.room.report import MOST_REPORT, REPORTS_PATH, TRIAL_PATH, Report, Reports, key
from ddnn.serving.room.room import Room
from ddnn.serving.room.trials import Trials
from ddnn.serving.service import Service
from ddnn.types import Tier

__all__ = ["make_report_routes", "make_trial_routes", "open_room"]


def make_report_routes(service: Service) -> APIRouter:
    """Where a tier is told, and tells of itself."""
    routes = APIRouter(include_in_schema=False)

    @routes.get(REPORTS_PATH)
    async def tell(request: Request) -> Response:
        """This tier's own report; `after` is the number of the last event that the caller knows."""
        authorise_reading(service, request)
        after, views = (_number(request, name) for name in ("after", "views"))
        report = service.reporter.report(after or 0, views=views)
        return Response(report.model_dump_json(), media_type="application/json")

    below = service.below
    if below is None:
        return routes

    @routes.get(TRIAL_PATH)
    async def question(request: Request) -> Response:
        """The policy that tiers below are to try."""
        authorise_reading(service, request)
        if below.question is None:
            raise NotFound("no policy is to be tried now")
        return Response(below.question[1], media_type="application/json")

    @routes.post(REPORTS_PATH)
    async def take(request: Request) -> Response:
        """Reports of a tier below, and of those below it."""
        peer = request.scope.get("state", {}).get("peer")
        if not service.knows(peer):
            _demand_token(service, request)
        reports = Reports.read(await read_body(request.receive, dict(request.headers.raw), MOST_REPORT))
        service.demand(peer, reports.tiers[0].index)
        below.take(reports)
        return Response(status_code=204)

    return routes


def make_trial_routes(service: Service, trials: Trials) -> APIRouter:
    """Where the page tries a policy on what was decided below."""
    routes = APIRouter(include_in_schema=False)

    @routes.put("/room/trial")
    async def trial(request: Request) -> Response:
        authorise(service.settings, request.headers.get("authorization"))
        body = await read_body(request.receive, dict(request.headers.raw), MOST_BYTES)
        policy = proposed_to(service, body)
        service.trail.note("policy tried", f"admin {caller(request.scope)}", **policy.named())
        return Response(orjson.dumps(await trials.ask(policy)), media_type="application/json")

    return routes


def _demand_token(service: Service, request: Request) -> None:
    if service.identity:
        raise Forbidden(f"reports are taken of {service.child}s alone, by their certificates")
    token = service.settings.token
    given = request.headers.get("authorization", "").encode()
    if token and not compare_digest(given, f"Bearer {token.get_secret_value()}".encode()):
        raise Unauthorized("the bearer token is missing or wrong; expected `Authorization: Bearer TOKEN`")


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise BadInput(f"{name} is {text[:20]!r}; expected a whole number")
    return int(text)


def open_room(service: Service) -> tuple[Room, Trials]:
    """The room of a cloud: its own report and those that come from below, and what is tried there."""
    below, board, reporter = service.below, Board(service.bundle), service.reporter
    assert below is not None
    edges: dict[int, Report] = {}

    async def look() -> None:
        room.take(reporter.report(board.number_of(key(service.tier, 0))))
        reporter.watched = room.watched
        board.states[key(Tier.CLOUD, 0)] = "draining" if service.draining else "alive"
        for index, lives in below.alive().items():
            report = edges.get(index)
            board.states[key(Tier.EDGE, index)] = _state(report, lives)
            for device in below.children[index]:
                heard = report.below.get(device, False) if report else False
                known = lives and report is not None
                board.states[key(Tier.DEVICE, device)] = ("alive" if heard else "gone") if known else "unseen"
        if service.draining:
            room.streams.close()

    def take(report: Report) -> None:
        if report.tier is Tier.EDGE:
            edges[report.index] = report
        trials.heard(report)
        room.take(report)

    folder = service.settings.state_dir
    history = History(folder / "control-room.sqlite" if folder else None, service.bundle.fingerprint)
    room = Room(board, look, {"demo": False, "views": service.settings.show_views}, history)
    trials = Trials(below)
    below.changed = take
    return room, trials


def _state(report: Report | None, lives: bool) -> str:
    if not lives:
        return "gone"
    return "draining" if report and report.draining else "alive"
