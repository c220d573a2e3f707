"""Our fleet side by side with FastAPI + ONNX Runtime, LitServe and BentoML, which serve the uncut network.

`python -m ddnn_lab.peers --out DIR [--digits mnist.npz] [--network DIR] [--quick]`

Environments are made and the uncut network is trained in `--cache`, both once; after that it takes less than five
minutes. `--digits` is MNIST in Keras form: its training digits that mnist5k does not have choose the network, its test
digits are a second test.
"""

import argparse
import shlex
import sys
from pathlib import Path
from time import monotonic

from ddnn.errors import DDNNError
from ddnn_lab.peers.run import run


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="Folder for results.json, report.md and peers.png.")
    parser.add_argument("--network", type=Path, help="Folder of networks trained before; CACHE/network by default.")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/ddnn-peers"), help="Folder of what is made once.")
    parser.add_argument("--digits", type=Path, help="MNIST in Keras form, for digits that mnist5k does not have.")
    parser.add_argument("--quick", action="store_true", help="A quarter of the time.")
    args = parser.parse_args()
    out: Path = args.out
    cache: Path = args.cache.expanduser()
    began = monotonic()
    try:
        run(
            out,
            args.network or cache / "network",
            cache,
            digits=args.digits,
            quick=args.quick,
            command=_command(args),
            say=lambda line: print(f"{monotonic() - began:4.0f} s  {line}", file=sys.stderr, flush=True),
        )
    except DDNNError as error:
        sys.exit(str(error))
    print((out / "report.md").read_text(encoding="utf-8"))


def _command(args: argparse.Namespace) -> str:
    """What makes the report again, wherever its files are."""
    digits = ["--digits", args.digits.name] if args.digits else []
    quick = ["--quick"] if args.quick else []
    return shlex.join(["python", "-m", "ddnn_lab.peers", "--out", args.out.name, *digits, *quick])


if __name__ == "__main__":
    main()
