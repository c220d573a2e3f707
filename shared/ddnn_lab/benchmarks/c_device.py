"""A device's section in C: its bytes for two Cortex-M, instructions an event there, and time an event here.

`python -m ddnn_lab.benchmarks.c_device mnist5k --device 0`: written by `ddnn export --c`, built with -O2, run on golden
events. Here, it takes turns with ONNX Runtime, one event at a time, on one thread; there, qemu-system-arm counts the
instructions, which are no cycles: a real processor waits for its memory, and takes several for some.
Exit code 1: bits differ between here and there.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Any, Final

import typer

from ddnn.bundle import Bundle, named
from ddnn.embedded import write_device
from ddnn.errors import BadInput
from ddnn.runtime import Section
from ddnn.types import Tier
from ddnn_lab.benchmarks import RESULTS, Out, command, write

__all__ = ["CORES", "Core", "Run", "emulated", "missing", "on_this_machine"]

_FILES: Final = Path(__file__).parent.parent / "templates" / "cortex_m"
_EVENTS: Final = 8
_RUNS: Final = 100  #: of 20 events each, of which the quickest counts
_PATIENCE_S: Final = 120


@dataclass(frozen=True)
class Core:
    """A processor that is emulated."""

    name: str
    machine: str  #: of qemu-system-arm
    flags: tuple[str, ...]


CORES: Final = (
    Core("Cortex-M3", "mps2-an385", ("-mcpu=cortex-m3", "-mthumb")),
    Core("Cortex-M4F", "mps2-an386", ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")),
)
"""Without and with a floating-point unit."""


@dataclass(frozen=True)
class Run:
    """What a build made of golden events."""

    counts: tuple[float, ...]  #: instructions there, nanoseconds here
    bits: tuple[str, ...]  #: of scores and features, in hexadecimal digits


def missing() -> list[str]:
    """Debian packages that emulation needs and that are not there."""
    found = [package for tool, package in _TOOLS.items() if not shutil.which(tool)]
    if shutil.which("arm-none-eabi-gcc"):
        specs = _run(["arm-none-eabi-gcc", "-print-file-name=rdimon.specs"]).strip()
        found += [] if Path(specs).is_file() else ["libnewlib-arm-none-eabi"]
    return found


_TOOLS: Final = {"arm-none-eabi-gcc": "gcc-arm-none-eabi", "qemu-system-arm": "qemu-system-arm"}


def on_this_machine(folder: Path, runs: int = _RUNS) -> Run:
    """Build what `write_device` wrote, and run it here, each event as often."""
    shutil.copy(_FILES / "count.c", folder)
    _run(["cc", "-std=c99", "-O2", f"-DRUNS={runs}", "-o", "count", "count.c", "ddnn_section.c", "-lm"], folder)
    return _read(_run([str(folder / "count")], folder))


def emulated(folder: Path, core: Core) -> Run:
    """The same for a processor, and emulated; the section stays in `CORE.o`."""
    for file in _FILES.iterdir():
        shutil.copy(file, folder)
    compiler = ["arm-none-eabi-gcc", "-std=c99", "-O2", *core.flags]
    made, program = f"{core.name}.o", f"{core.name}.elf"
    _run([*compiler, "-c", "-o", made, "ddnn_section.c"], folder)
    _run([*compiler, "--specs=rdimon.specs", "-T", "mps2.ld", "-o", program, "start.c", "count.c", made, "-lm"], folder)
    machine = ["qemu-system-arm", "-M", core.machine, "-nographic", "-semihosting", "-icount", "shift=0"]
    return _read(_run([*machine, "-kernel", program], folder))


def _read(text: str) -> Run:
    lines = [line.split(maxsplit=1) for line in text.splitlines()]
    return Run(tuple(float(count) for count, _ in lines), tuple(bits for _, bits in lines))


def _run(words: Sequence[str], folder: Path | None = None) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE_S)
    if done.returncode:
        raise BadInput(f"{words[0]} ends with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def _sizes(file: Path) -> dict[str, int]:
    """Bytes of code, constants and memory."""
    rows = [line.split() for line in _run(["arm-none-eabi-size", "-A", str(file)]).splitlines()]
    found = {row[0]: int(row[1]) for row in rows if len(row) == 3 and row[1].isdigit()}
    kinds = {"code": ".text", "constants": ".rodata", "memory": ".bss"}
    return {kind: sum(size for name, size in found.items() if name.startswith(of)) for kind, of in kinds.items()}


def _by_onnx_runtime(bundle: Bundle, device: int) -> list[float]:
    """Nanoseconds an event, the least of as many runs as the C has."""
    section = Section(bundle.sections(Tier.DEVICE, device)["section"], 1)
    found = []
    for row in range(_EVENTS):
        view, times = bundle.golden[f"view_{device}"][row : row + 1], []
        for _ in range(_RUNS):
            start = perf_counter()
            for _ in range(20):
                section.run(view=view)
            times.append((perf_counter() - start) / 20)
        found.append(1e9 * min(times))
    return found


def measure(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or a shipped one's name.")] = Path("mnist5k"),
    device: Annotated[int, typer.Option(help="Which device.")] = 0,
    out: Out = RESULTS,
) -> None:
    opened = Bundle.open(named(bundle))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "device"
        section = write_device(opened, device, folder, events=_EVENTS)
        here = on_this_machine(folder)
        runtime = _by_onnx_runtime(opened, device)
        document: dict[str, Any] = {
            "bundle": opened.manifest.name,
            "device": device,
            "weights": section.weights,
            "memory": section.memory,
            "macs": section.macs,
            "here_us": median(here.counts) / 1000,
            "onnxruntime_us": median(runtime) / 1000,
            "missing": missing(),
            "cores": [],
        }
        apart = False
        for core in CORES if not document["missing"] else ():
            run = emulated(folder, core)
            apart |= run.bits != here.bits
            row = {"name": core.name, "instructions": median(run.counts), "same": run.bits == here.bits}
            document["cores"].append({**row, **_sizes(folder / f"{core.name}.o")})
    write(out, "c_device", document)
    if apart:
        sys.exit(1)


if __name__ == "__main__":
    command(__doc__, measure)
