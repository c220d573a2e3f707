"""How many files and functions one view passes on its way to the local exit and back: `python -m ddnn_lab.hops`.

Cloud, edge and six devices stand in this process; one view is posted to a device, as a caller would. Counted is what is
entered of the product's own packages, by `sys.setprofile`: a function with a name once, however often it is called.
`--rooms` counts what there is instead: files and lines of each room, and how long functions are.
"""

import argparse
import ast
import asyncio
import json
import sys
from collections import Counter
from functools import reduce
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Final, NamedTuple

import httpx
import numpy as np

import ddnn
import ddnn_cloud
import ddnn_device
import ddnn_edge
import ddnn_lab
from ddnn.bundle import Bundle, shipped_bundle
from ddnn.formatting import markdown
from ddnn.policy import Thresholds
from ddnn.wire import encode_request
from ddnn_lab.in_process import Fleet

__all__ = ["Room", "count_hops", "count_rooms", "main"]

_PACKAGES: Final = (ddnn, ddnn_device, ddnn_edge, ddnn_cloud)
_ROOTS: Final = {str(Path(package.__path__[0]).parent): package.__name__ for package in _PACKAGES}
_WARM: Final = 8


class _Hops:
    """What is entered while it watches."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """What `sys.setprofile` calls."""
        if event != "call" or frame.f_code.co_name.startswith("<"):
            return
        file = frame.f_code.co_filename
        for root, package in _ROOTS.items():
            if file.startswith(f"{root}/{package}/"):
                self.calls[file.removeprefix(f"{root}/"), frame.f_code.co_qualname] += 1


async def count_hops(bundle: Bundle) -> dict[str, Any]:
    """Files, named functions and calls of one view, after a few that warm what is made once."""
    fleet, hops = Fleet(bundle), _Hops()
    fleet.start()
    fleet.use(thresholds=Thresholds(local=1.0), wait_ms=150)  # the local exit answers whatever it sees
    body, headers = encode_request({"view": bundle.golden["view_0"][:1]})
    async with httpx.AsyncClient(transport=fleet.switch) as client:
        for turn in range(_WARM + 1):
            if turn == _WARM:
                sys.setprofile(hops)
            response = await client.post(
                "http://device-0/v2/models/ddnn/infer", content=body, headers={**headers, "x-ddnn-deadline-ms": "5000"}
            )
        sys.setprofile(None)
    await fleet.close()
    response.raise_for_status()
    files = Counter(file for file, _ in hops.calls)
    return {
        "files": len(files),
        "functions": len(hops.calls),
        "calls": sum(hops.calls.values()),
        "by_file": dict(sorted(files.items())),
    }


class Room(NamedTuple):
    """A package, or the modules that lie beside its packages."""

    files: int
    lines: int
    functions: list[int]
    """Lines of each, from `def` to its last."""

    def plus(self, other: "Room") -> "Room":
        """Both together."""
        return Room(self.files + other.files, self.lines + other.lines, self.functions + other.functions)

    def row(self, name: str) -> tuple[object, ...]:
        """Of a table."""
        median, p90 = np.percentile(self.functions, (50, 90)) if self.functions else (0, 0)
        return name, self.files, f"{self.lines:,}", f"{median:.0f}", f"{p90:.0f}"


def count_rooms(package: ModuleType) -> dict[str, Room]:
    """The rooms of a package, by name."""
    root, rooms = Path(package.__path__[0]), dict[str, Room]()
    for file in sorted(root.rglob("*.py")):
        inside = file.relative_to(root).parts
        name = package.__name__ if len(inside) == 1 else f"{package.__name__}.{inside[0]}"
        text = file.read_text(encoding="utf-8")
        functions = [
            (node.end_lineno or node.lineno) - node.lineno + 1
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        rooms[name] = rooms.get(name, Room(0, 0, [])).plus(Room(1, len(text.splitlines()), functions))
    return rooms


def _rooms_table() -> str:
    """Markdown: every room, then product and laboratory."""
    product = {name: room for package in _PACKAGES for name, room in count_rooms(package).items()}
    laboratory = count_rooms(ddnn_lab)
    sums = {"product": reduce(Room.plus, product.values()), "laboratory": reduce(Room.plus, laboratory.values())}
    rows = [room.row(name) for name, room in {**product, **laboratory, **sums}.items()]
    return markdown(("room", "files", "lines", "lines of a function: median", "p90"), rows)


def main() -> int:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print a document")
    parser.add_argument("--list", action="store_true", help="print each file with its functions")
    parser.add_argument("--rooms", action="store_true", help="print files, lines and functions of each room")
    given = parser.parse_args()
    if given.rooms:
        print(_rooms_table(), end="")
        return 0
    found = asyncio.run(count_hops(Bundle.open(shipped_bundle())))
    if given.json:
        print(json.dumps(found, indent=1))
        return 0
    print(f"{found['files']} files, {found['functions']} named functions, {found['calls']} calls")
    if given.list:
        for file, functions in found["by_file"].items():
            print(f"{functions:>4}  {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
