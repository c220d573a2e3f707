"""What a tier's CPU time goes to, from stacks sampled by py-spy: one bar a profile.

    py-spy record --pid PID --rate 500 --duration 6 --format raw --output after.txt
    python -m ddnn_lab.benchmarks.profile_parts --out parts.png before.txt=867 after.txt=240

The number is the CPU time of a request in µs, as `hotpath.py` tells it; the samples share it out.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

__all__ = ["main", "part_of", "shares"]

PARTS: Final = (
    ("section", ("onnxruntime", "ddnn/runtime.py")),
    ("uvicorn", ("ddnn/service/heads.py", "ddnn/service/one_write.py")),
    ("bytes to tensors and back", ("ddnn/wire/", "ddnn/answers.py")),
    ("metrics", ("prometheus_client", "ddnn/service/metrics.py", "ddnn/service/histogram.py")),
    ("gate", ("ddnn/service/gate.py", "ddnn/service/admission.py", "ddnn/service/caller.py", "ddnn/service/trace.py")),
    ("answering", ("ddnn/exits.py", "ddnn/service/", "ddnn_cloud/", "ddnn_edge/", "ddnn_device/")),
    ("FastAPI and Starlette", ("fastapi/", "starlette/")),
    ("uvicorn", ("uvicorn/protocols", "uvicorn/middleware")),
)
"""Whose a stack is: of the innermost frame that is anybody's here, the first that matches."""
LOOP: Final = "event loop"
ORDER: Final = (*dict.fromkeys(part for part, _ in PARTS), LOOP)
_AROUND: Final = ("ddnn/service/server.py",)
"""Frames around all others, which say nothing."""
_IDLE: Final = "concurrent/futures/thread.py"
"""Innermost where a thread waits for work."""


def part_of(frames: Sequence[str]) -> str:
    """The part that a stack, outermost frame first, belongs to."""
    for frame in reversed(frames):
        for part, marks in PARTS:
            if any(mark in frame for mark in marks) and not any(mark in frame for mark in _AROUND):
                return part
    return LOOP


def shares(file: Path) -> dict[str, float]:
    """Each part's share of the samples."""
    counts: Counter[str] = Counter()
    for line in file.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if _IDLE not in frames[-1]:
            counts[part_of(frames)] += int(count)
    return {part: counts[part] / counts.total() for part in ORDER}


def main() -> None:
    """Print a table and draw the bars."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("profiles", nargs="+", metavar="FILE=MICROSECONDS")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    for profile in given.profiles:
        name, _, each = profile.rpartition("=")
        rows[Path(name).stem] = {part: float(each) * share for part, share in shares(Path(name)).items()}
    print(f"| CPU µs a request | {' | '.join(ORDER)} | sum |\n| --- |{' --- |' * (len(ORDER) + 1)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{value:.0f}' for value in (*row.values(), sum(row.values())))} |")
    draw(rows, given.out)


def draw(rows: dict[str, dict[str, float]], file: Path) -> None:
    """Stacked bars."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 2.6), layout="constrained")
    left = np.zeros(len(rows))
    for number, part in enumerate(ORDER):
        widths = np.array([row[part] for row in rows.values()])
        axes.barh(list(rows), widths, left=left, label=part, color=plt.get_cmap("tab10")(number))
        left += widths
    axes.invert_yaxis()
    axes.set_xlabel("CPU time of a request, µs")
    axes.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    figure.savefig(file, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
