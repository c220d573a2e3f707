"""How many files and functions one view passes on its way to the local exit and back: `python -m ddnn_lab.hops`.

Cloud, edge and six devices stand in this process; one view is posted to a device, as a caller would. Counted is what is
entered of the product's own packages, by `sys.setprofile`: a function with a name once, however often it is called.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, Final

import httpx

import ddnn
import ddnn_cloud
import ddnn_device
import ddnn_edge
from ddnn.bundle import Bundle, shipped_bundle
from ddnn.policy import Thresholds
from ddnn.wire import encode_request
from ddnn_lab.in_process import Fleet

__all__ = ["count_hops", "main"]

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


def main() -> int:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print a document")
    parser.add_argument("--list", action="store_true", help="print each file with its functions")
    given = parser.parse_args()
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
