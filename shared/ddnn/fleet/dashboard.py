"""The Grafana dashboard of a fleet: what is looked at first on top, why it is so below."""

from dataclasses import dataclass
from typing import Any, Final

__all__ = ["PANELS", "Panel", "dashboard"]

_WIDTH: Final = 24  #: of Grafana's grid
_SCRAPED: Final = 'job="ddnn"'


@dataclass(frozen=True)
class Panel:
    """One plot, or with `stat` one number a series."""

    title: str
    unit: str  #: by Grafana's name
    queries: tuple[tuple[str, str], ...]  #: expression of PromQL, and the legend of its series
    about: str
    width: int = 8
    stat: bool = False
    stacked: bool = False


def _rate(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{_SCRAPED}{more}}}[1m]))"


def _quantile(q: float, metric: str) -> str:
    return f"histogram_quantile({q}, sum by (tier, le) (rate({metric}_bucket{{{_SCRAPED}}}[1m])))"


_DEGRADED: Final = ', reason!="sure"'

PANELS: Final = (
    Panel("Tiers up", "none", ((f"up{{{_SCRAPED}}}", "{{tier}}"),), "1: answers the scraper.", 24, stat=True),
    Panel(
        "Events answered",
        "cps",
        ((_rate("ddnn_exits_total", "exit"), "{{exit}}"),),
        "By the exit that answered, as each tier counts those of its own exits.",
        stacked=True,
    ),
    Panel(
        "Degraded",
        "percentunit",
        (
            (
                f"{_rate('ddnn_exits_total', 'tier', _DEGRADED)} / {_rate('ddnn_exits_total', 'tier')}",
                "{{tier}}",
            ),
        ),
        "Share of the answers that a lower exit gave than the policy wanted.",
    ),
    Panel(
        "Why degraded",
        "cps",
        ((_rate("ddnn_exits_total", "reason", _DEGRADED), "{{reason}}"),),
        "The protocol's reasons.",
    ),
    Panel(
        "Time of a request",
        "s",
        tuple((_quantile(q, "ddnn_request_duration_seconds"), f"{{{{tier}}}} p{100 * q:.0f}") for q in (0.5, 0.95)),
        "First byte in to last byte out, waits included.",
    ),
    Panel(
        "Where it goes",
        "percentunit",
        ((_rate("ddnn_stage_duration_seconds_sum", "tier, stage"), "{{tier}} {{stage}}"),),
        "Seconds a second, by stage.",
        stacked=True,
    ),
    Panel(
        "Bytes up",
        "Bps",
        ((_rate("ddnn_uplink_bytes_total", "tier", ', direction="up"'), "{{tier}}"),),
        "HTTP bodies to the tier above.",
    ),
    Panel(
        "Circuit",
        "none",
        ((f"ddnn_circuit_state{{{_SCRAPED}}}", "{{tier}}"),),
        "To the tier above: 0 closed, 1 half open, 2 open.",
    ),
    Panel(
        "Waiting",
        "none",
        (
            (f"ddnn_queue_depth{{{_SCRAPED}}}", "{{tier}} events"),
            (f"ddnn_in_flight{{{_SCRAPED}}}", "{{tier}} requests"),
        ),
        "Events that wait for contributions, requests that are worked on.",
    ),
    Panel(
        "Refused",
        "cps",
        ((_rate("ddnn_shed_total", "tier, reason"), "{{tier}} {{reason}}"),),
        "For want of room.",
    ),
    Panel(
        "Devices in an event",
        "none",
        (
            (
                f"{_rate('ddnn_fusion_contributors_sum', 'tier')} / {_rate('ddnn_fusion_contributors_count', 'tier')}",
                "{{tier}}",
            ),
        ),
        "The mean of those that took part.",
    ),
    Panel(
        "Absent",
        "cps",
        ((_rate("ddnn_fusion_missing_total", "device"), "device {{device}}"),),
        "Events that a device took no part in.",
    ),
    Panel(
        "Late",
        "cps",
        ((_rate("ddnn_fusion_late_total", "device"), "device {{device}}"),),
        "Contributions that came after their event was closed.",
    ),
    Panel(
        "Set aside",
        "none",
        ((f"ddnn_device_set_aside{{{_SCRAPED}}}", "device {{device}}"),),
        "1 while a device is in no fusion, as it contradicts the others.",
    ),
    Panel(
        "Unlike the cloud",
        "percentunit",
        (
            (f'ddnn_disagreement{{{_SCRAPED}, bound="share"}}', "{{tier}} {{exit}}"),
            (f'ddnn_disagreement{{{_SCRAPED}, bound="high"}}', "{{tier}} {{exit}}, at most"),
        ),
        "Audited answers of an exit that the cloud would have given otherwise, with the upper end of their interval.",
    ),
    Panel(
        "Alarms",
        "none",
        (
            (f"max by (tier, exit) (ddnn_audit_alarm{{{_SCRAPED}}})", "drift, {{exit}}"),
            (f"max by (whose) (ddnn_budget_alarm{{{_SCRAPED}}})", "budget, {{whose}}"),
        ),
        "1 where the promise of an exit no longer holds, or a budget is spent.",
    ),
    Panel(
        "Budget left",
        "percentunit",
        ((f"ddnn_budget_left{{{_SCRAPED}}}", "{{whose}} {{kind}}"),),
        "Of the burst, where the policy has a budget.",
    ),
    Panel(
        "Policy",
        "none",
        ((f"count by (version) (ddnn_policy_info{{{_SCRAPED}}})", "version {{version}}"),),
        "Tiers that follow each version.",
    ),
    Panel(
        "Certificates",
        "s",
        ((f"(ddnn_certificate_expiry_timestamp_seconds{{{_SCRAPED}}} > 0) - time()", "{{tier}}"),),
        "Until they end, where tiers have an identity.",
    ),
)


def dashboard() -> dict[str, Any]:
    """As Grafana reads it from a file; its data source has the uid `prometheus`."""
    panels, x, y = [], 0, 0
    for number, panel in enumerate(PANELS):
        height = 4 if panel.stat else 7
        if x + panel.width > _WIDTH:
            x, y = 0, y + 7
        panels.append(_panel(number + 1, panel, {"x": x, "y": y, "w": panel.width, "h": height}))
        x, y = (0, y + height) if panel.width == _WIDTH else (x + panel.width, y)
    return {
        "uid": "ddnn",
        "title": "ddnn",
        "schemaVersion": 39,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "panels": panels,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "prometheus"}
    lines = {"fillOpacity": 20, "stacking": {"mode": "normal"}} if panel.stacked else {"fillOpacity": 5}
    return {
        "id": number,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": {} if panel.stat else lines}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(panel.queries)
        ],
    }
