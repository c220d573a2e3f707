"""How many files and functions one view passes on its way to the local exit and back: `python -m ddnn_lab.hops`.

Cloud, edge and six devices stand in this process; one view is posted to a device, as a caller would. Counted is what is
entered of the product's own packages, by `sys.setprofile`: a function with a name once, however often it is called.
`--rooms` counts what there is instead: files and lines of each room, and how long functions are.
"""

import ast
import asyncio
import sys
from collections import Counter
from pathlib import Path
from types import FrameType, ModuleType
from typing import Annotated, Any, Final

import numpy as np
import typer

import ddnn
import ddnn_cloud
import ddnn_device
import ddnn_edge
import ddnn_lab
from ddnn.bundle import Bundle, shipped_bundle
from ddnn.formatting import markdown
from ddnn.policy import Thresholds
from ddnn.wire import encode_request
from ddnn_lab.in_process import INFER, Fleet

__all__ = ["count_hops", "count_rooms"]

_PACKAGES: Final = (ddnn, ddnn_device, ddnn_edge, ddnn_cloud)
_ROOTS: Final = {str(Path(package.__path__[0]).parent): package.__name__ for package in _PACKAGES}
_WARM: Final = 8


async def count_hops(bundle: Bundle) -> dict[str, Any]:
    """Files, named functions and calls of one view, after a few that warm what is made once."""
    fleet, calls = Fleet(bundle), Counter[tuple[str, str]]()

    def entered(frame: FrameType, event: str, argument: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and not frame.f_code.co_name.startswith("<"):
            for root, package in _ROOTS.items():
                if file.startswith(f"{root}/{package}/"):
                    calls[file.removeprefix(f"{root}/"), frame.f_code.co_qualname] += 1

    fleet.start()
    fleet.use(thresholds=Thresholds(local=1.0), wait_ms=150)  # the local exit answers whatever it sees
    body, headers = encode_request({"view": bundle.golden["view_0"][:1]})
    async with fleet.client("device-0") as client:
        for turn in range(_WARM + 1):
            if turn == _WARM:
                sys.setprofile(entered)
            response = await client.post(INFER, content=body, headers={**headers, "x-ddnn-deadline-ms": "5000"})
        sys.setprofile(None)
    await fleet.close()
    response.raise_for_status()
    files = Counter(file for file, _ in calls)
    by_file = dict(sorted(files.items()))
    return {"files": len(files), "functions": len(calls), "calls": sum(calls.values()), "by_file": by_file}


def count_rooms(package: ModuleType) -> dict[str, tuple[int, int, list[int]]]:
    """Of each package in it, and of the modules beside those: files, lines, and the lines of each function."""
    root, rooms = Path(package.__path__[0]), dict[str, tuple[int, int, list[int]]]()
    for file in sorted(root.rglob("*.py")):
        inside, text = file.relative_to(root).parts, file.read_text(encoding="utf-8")
        name = package.__name__ if len(inside) == 1 else f"{package.__name__}.{inside[0]}"
        files, lines, functions = rooms.get(name, (0, 0, []))
        functions += [
            (node.end_lineno or node.lineno) - node.lineno + 1
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        rooms[name] = files + 1, lines + len(text.splitlines()), functions
    return rooms


def _rooms_table() -> str:
    """Markdown: every room, then product and laboratory."""
    product = {name: room for package in _PACKAGES for name, room in count_rooms(package).items()}
    laboratory, rows = count_rooms(ddnn_lab), []
    for name, rooms in ("product", product), ("laboratory", laboratory):
        counts = list(rooms.values())
        lengths = [length for _, _, functions in counts for length in functions]
        rooms[name] = sum(files for files, _, _ in counts), sum(lines for _, lines, _ in counts), lengths
    for name, (files, lines, functions) in {**product, **laboratory}.items():
        median, p90 = np.percentile(functions or [0], (50, 90))
        rows.append((name, files, f"{lines:,}", f"{median:.0f}", f"{p90:.0f}"))
    return markdown(("room", "files", "lines", "lines of a function: median", "p90"), rows)


def main(rooms: bool = False, as_list: Annotated[bool, typer.Option("--list")] = False) -> None:
    """Print the counts of one view and with --list each file with its functions; with --rooms what there is."""
    if rooms:
        print(_rooms_table(), end="")
        return
    hops = asyncio.run(count_hops(Bundle.open(shipped_bundle())))
    print(f"{hops['files']} files, {hops['functions']} named functions, {hops['calls']} calls")
    for file, functions in hops["by_file"].items() if as_list else ():
        print(f"{functions:>4}  {file}")


if __name__ == "__main__":
    typer.run(main)
