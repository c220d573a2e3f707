"""What a comparison has shown: targets, tables and a plot."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

from ddnn.plot_style import name as entitle
from ddnn.plot_style import panels
from ddnn_lab.plots import save

__all__ = ["best", "draw", "efficiency", "report", "same_rate", "targets"]

LEAST_S: Final = 1e-3
"""The least CPU time that is told; less counts as this much."""
Document = Mapping[str, Any]


def efficiency(point: Document) -> float:
    """Events for a CPU second of the cloud."""
    return float(point["answered"] / max(point["cpu_s"]["cloud"], LEAST_S))


def best(points: Sequence[Document]) -> Document:
    """The point with the most events for a CPU second of the cloud."""
    return max(points, key=efficiency)


def targets(results: Document) -> list[dict[str, Any]]:
    """One row each: `name`, `wanted`, `found`, `met`, `against`, `note`."""
    peers, ours, sent = results["peers"], results["ours"], results["bytes"]
    rows = [_cpu(peers, ours), _median(peers, ours), _tail(peers, ours, results["links"])]
    raw, up = sent["raw_views"], sent["edge_to_cloud"]
    everything = (
        f"{up:.4g} B an event; {sent['offloaded']:.0f} B if every event went up, 1/{raw / sent['offloaded']:.0f}"
    )
    rows.append(
        _row("edge → cloud payload / raw views", "≤ 1/20", up / raw, up / raw <= 1 / 20, "raw views", everything)
    )
    coded = sent["jpeg"]
    if coded:
        note = f"{coded['bytes']:.0f} B an event ({coded['how']}, quality {coded['quality']})"
        found = up / coded["bytes"]
        rows.append(_row("edge → cloud payload / JPEG", "≤ 1/5", found, found <= 1 / 5, "JPEG of equal accuracy", note))
    return rows


def _cpu(peers: Sequence[Document], ours: Document) -> dict[str, Any]:
    peer = max(peers, key=lambda each: efficiency(best(each["saturated"])))
    theirs, mine = efficiency(best(peer["saturated"])), efficiency(best(ours["saturated"]))
    alike = same_rate(peers, ours)
    note = f"{mine:,.0f} against {theirs:,.0f} events for a CPU second of the cloud, each at its best; {alike}"
    return _row("events per CPU second of the cloud", "≥ 10", mine / theirs, mine >= 10 * theirs, peer["name"], note)


def same_rate(peers: Sequence[Document], ours: Document) -> str:
    """The same comparison under the same load: the highest rate that all were offered."""
    common = set.intersection(*({_rate(point) for point in each["rates"]} for each in (*peers, ours)))
    if not common:
        return "no rate in common"
    rate = max(common)
    theirs, mine = (
        max(efficiency(point) for each in systems for point in each["rates"] if _rate(point) == rate)
        for systems in (peers, [ours])
    )
    return f"at {rate:g} events/s for both {mine:,.0f} against {theirs:,.0f}, {mine / theirs:.1f} times"


def _rate(point: Document) -> float:
    return float(point["arrivals"]["rate"])


def _median(peers: Sequence[Document], ours: Document) -> dict[str, Any]:
    peer = min(peers, key=lambda each: _over_link(each, "p50"))
    theirs, mine = _over_link(peer, "p50"), _over_link(ours, "p50")
    note = f"{mine:.1f} ms against {theirs:.1f} ms"
    return _row("p50 over the thin link", "≤ 1/3", mine / theirs, 3 * mine <= theirs, peer["name"], note)


def _over_link(system: Document, percentile: str) -> float:
    """Milliseconds; infinite where nothing was answered."""
    found = system["linked"]["latency_ms"]
    return float(found[percentile]) if found else math.inf


def _tail(peers: Sequence[Document], ours: Document, links: Document) -> dict[str, Any]:
    peer = min(peers, key=lambda each: _over_link(each, "p95"))
    theirs, mine = _over_link(peer, "p95"), ours["offloaded"]["latency_by_exit_ms"]["cloud"]["p95"]
    allowed = theirs + 2 * links["device_edge_ms"] + links["wait_ms"]
    note = f"{mine:.1f} ms; {theirs:.1f} + 2 × {links['device_edge_ms']:g} + {links['wait_ms']:g} ms allowed"
    return _row("p95 of offloaded events, ms", f"≤ {allowed:.1f}", mine, mine <= allowed, peer["name"], note)


def _row(name: str, wanted: str, found: float, met: bool, against: str, note: str) -> dict[str, Any]:
    return {"name": name, "wanted": wanted, "found": found, "met": bool(met), "against": against, "note": note}


def report(results: Document) -> str:
    """Markdown."""
    parts = [
        "# Our fleet beside what else would serve the network",
        f"`{results['command']}`",
        *_what(results),
        "## Targets",
        _table(
            ("", "wanted", "found", "", "against", ""),
            (
                (
                    row["name"],
                    row["wanted"],
                    f"{row['found']:.3g}",
                    "yes" if row["met"] else "**no**",
                    row["against"],
                    row["note"],
                )
                for row in results["targets"]
            ),
        ),
        *_shares(results),
        "## Flat out, without links",
        _flat_out(results),
        "## Over the thin link",
        _linked(results),
        "## Bytes of an event",
        _bytes(results),
        "## At several rates, without links",
        _rates(results),
        "## Settings",
        _settings(results),
    ]
    return "\n\n".join(parts) + "\n"


def _what(results: Document) -> list[str]:
    network, fleet, links, cores = (results[key] for key in ("network", "fleet", "links", "cores"))
    other = results["other"]
    head = ("", "accuracy here", *([f"on {other['name']}"] if other else []), "multiplications", "ONNX, kB")
    return [
        f"{results['events']:,} test events of {results['data']}, the same for every system in the same order. The "
        f"cloud, whoever it is, has {cores['cloud']} of {cores['all']} cores; the load generator and all below the "
        f"cloud run where there is room. Links: from the edge to the cloud, and from the gateway of cloud-only systems "
        f"to it, {links['edge_cloud']}; from a device to the edge {links['device_edge']}. A cloud-only request "
        "carries all six views of an event in one body, as from a gateway that collects them for nothing, which "
        "favours the peers.",
        _table(
            head,
            (
                (
                    name,
                    f"{each['accuracy']:.1%}",
                    *([f"{each['other']:.2%}"] if other else []),
                    f"{each['macs']:,}",
                    f"{each['bytes'] / 1000:,.0f}",
                )
                for name, each in (("our fleet", fleet), ("uncut float network, all views", network))
            ),
        ),
        f"The uncut network has {'-'.join(map(str, network['filters']))} filters, the smallest of those tried that is "
        f"within 0.2 points of our accuracy on {network['chosen_on']}: {network['chosen']:.2%}, ours "
        f"{fleet['chosen']:.2%}. It is trained and exported by `ddnn`'s own code with the shipped recipe."
        + ("" if network["equal"] else " **On the test events here it is more than 0.2 points below ours.**"),
    ]


def _shares(results: Document) -> list[str]:
    ours = results["ours"]
    peer = efficiency(max((best(each["saturated"]) for each in results["peers"]), key=efficiency))
    rows = [("its own policy", best(ours["saturated"]))]
    rows += [(f"threshold {each['threshold']:.2g}", each) for each in ours["shares"]]
    idle = ours["idle"]["cpu_s"] / ours["idle"]["seconds"]
    head = ("thresholds", "to the cloud", "accuracy", "events/s", "events a CPU second of the cloud", "best peer × ")
    return [
        "The first target follows mostly from the share of events that is answered below the cloud. Other shares than "
        "the policy's own, by one threshold for all exits:",
        _table(
            (*head, "CPU of the whole fleet, ms an event"),
            (
                (
                    name,
                    f"{_cloud_share(each):.2%}",
                    _accuracy(each),
                    f"{each['goodput_per_s']:.0f}",
                    f"{efficiency(each):,.0f}",
                    f"{efficiency(each) / peer:.2g}",
                    f"{each['cpu_ms_per_event']:.1f}",
                )
                for name, each in rows
            ),
        ),
        f"With nothing to do the cloud uses {idle:.2%} of a core. All CPU of a peer is the cloud's, {1000 / peer:.2g} "
        "ms an event for the best of them; whoever collects its views is not counted.",
    ]


def _flat_out(results: Document) -> str:
    head = ("", "clients", "events/s", "p50, ms", "p95, ms", "accuracy")
    costs = ("CPU of the cloud, ms an event", "of all", "of the client", "memory of all, MB")
    return _table(
        (*head, *costs),
        (
            (
                name,
                point["arrivals"]["clients"],
                f"{point['goodput_per_s']:,.0f}",
                *_times(point),
                _accuracy(point),
                f"{1000 / efficiency(point):.3g}",
                f"{point['cpu_ms_per_event']:.3g}",
                f"{1000 * point['cpu_s']['client'] / point['answered']:.2g}",
                f"{sum(point['memory_bytes'].values()) / 1e6:.0f}",
            )
            for name, each in _systems(results)
            for point in each["saturated"]
        ),
    )


def _linked(results: Document) -> str:
    ours = results["ours"]
    rows = [*((each["name"], each["linked"], "gateway") for each in results["peers"])]
    rows += [("our fleet", ours["linked"], "edge"), ("our fleet, every event sent up", ours["offloaded"], "edge")]
    return _table(
        ("", "events/s", "p50, ms", "p95, ms", "accuracy", "to the cloud", "up the link, B an event", "down"),
        (
            (
                name,
                f"{each['goodput_per_s']:.0f}",
                *_times(each),
                _accuracy(each),
                f"{_cloud_share(each):.2%}",
                *(_passed(each, link, way) for way in ("up", "down")),
            )
            for name, each, link in rows
        ),
    )


def _bytes(results: Document) -> str:
    sent = results["bytes"]
    rows = [
        ("edge → cloud, our policy, payload", sent["edge_to_cloud"], ""),
        ("edge → cloud, every event sent up, payload", sent["offloaded"], ""),
    ]
    rows += [
        ("devices → edge, our policy, payload", sent["device_to_edge"], "not over the thin link"),
        ("raw views", sent["raw_views"], ""),
    ]
    for key, what in (("apart", "JPEG, a file a view"), ("together", "JPEG, six views in one")):
        chosen = (sent["searches"] or {}).get(key, {}).get("chosen")
        if chosen:
            told = f"quality {chosen['quality']}, uncut network {chosen['accuracy']:.1%}"
            rows += [
                (f"{what}, whole files", chosen["file"], told),
                (f"{what}, coded pixels alone", chosen["scan"], told),
            ]
        elif sent["searches"]:
            rows.append((what, float("nan"), "at no quality within 0.2 points of ours"))
    return _table(("", "B an event", ""), ((name, f"{size:,.4g}", note) for name, size, note in rows))


def _rates(results: Document) -> str:
    return _table(
        ("", "offered/s", "answers", "in time/s", "p50, ms", "p95, ms", "accuracy", "CPU of the cloud, ms an event"),
        (
            (
                name,
                f"{point['offered_per_s']:.0f}",
                f"{point['answered']:,}",
                f"{point['goodput_per_s']:.0f}",
                *_times(point),
                _accuracy(point),
                f"{1000 / efficiency(point):.3g}",
            )
            for name, each in _systems(results)
            for point in each["rates"]
            if point["answered"]
        ),
    )


def _settings(results: Document) -> str:
    lines = [
        f"- {each['name']}: {', '.join(f'{package} {number}' for package, number in each['versions'].items())}"
        for each in results["peers"]
    ]
    thresholds = ", ".join(f"{exit} {value:g}" for exit, value in results["thresholds"].items())
    lines.append(f"- our fleet: ddnn {results['ddnn']}, a process a tier, staged offload, thresholds {thresholds}")
    lines.append(
        f"- all: CPython {results['python']}, uvloop, no access log, a worker for each core of the cloud, one ONNX "
        "Runtime thread a session"
    )
    return "\n".join(lines)


def _systems(results: Document) -> list[tuple[str, Document]]:
    return [*((each["name"], each) for each in results["peers"]), ("our fleet", results["ours"])]


def _cloud_share(point: Document) -> float:
    return float(point["exit_share"].get("cloud", 0.0))


def _times(point: Document) -> tuple[str, str]:
    found = point["latency_ms"]
    return (f"{found['p50']:.1f}", f"{found['p95']:.1f}") if found else ("-", "-")


def _passed(point: Document, link: str, way: str) -> str:
    return f"{point['passed_per_event'][link][way]:,.0f}" if point["answered"] else "-"


def _accuracy(point: Document) -> str:
    return "-" if point["accuracy"] is None else f"{point['accuracy']:.1%}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


_MARKS: Final = {"p50": "-", "p95": ":"}


def draw(results: Mapping[str, Any], file: Path) -> None:
    """Write the PNG."""
    systems = [*((each["name"], each) for each in results["peers"]), ("our fleet", results["ours"])]
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    figure, (rates, linked) = panels(2, height=8.0)
    for place, (name, each) in enumerate(systems):
        points = [point for point in each["rates"] if point["latency_ms"]]
        for key, style in _MARKS.items():
            x, y = [point["offered_per_s"] for point in points], [point["latency_ms"][key] for point in points]
            rates.plot(x, y, f"o{style}", color=colours[place], markersize=4, label=name if key == "p50" else None)
    rates.set_xscale("log")
    rates.set_yscale("log")
    entitle(rates, "Without links: p50 (line) and p95 (dots)", "offered, events/s", "ms")
    rates.legend(fontsize=7, framealpha=0.5)
    bars = [(name, each["linked"], colours[place]) for place, (name, each) in enumerate(systems)]
    bars.append(("our fleet, every event sent up", results["ours"]["offloaded"], "0.5"))
    answered = [bar for bar in bars if bar[1]["latency_ms"]]
    for place, (_, point, colour) in enumerate(reversed(answered)):
        linked.barh(place, point["latency_ms"]["p95"], color=colour, alpha=0.35)
        linked.barh(place, point["latency_ms"]["p50"], color=colour)
    labels = [f"{name}, {point['accuracy']:.1%}" for name, point, _ in reversed(answered)]
    linked.set_yticks(range(len(labels)), labels, fontsize=7)
    entitle(linked, f"Cloud {results['links']['edge_cloud']} away: p50 (full) and p95 (pale)", "ms", "")
    save(figure, file)
