"""What the library costs on top of the network: run by `make bench`; prints the rows of the README's table.

All timings are ratios of interleaved runs in one process (machines are shared and noisy): one round times every
contestant once, in a new order, and the median over rounds is reported.

    python benchmarks/speed.py [--steps 50] [--rounds 7] [--model scenes]
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import scumble
from scumble.core.request import EditRequest
from scumble.priors._find import builtin
from scumble.scenes import generator, random_edit, render

MEASURE = """\
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
ROOT = Path(__file__).resolve().parent.parent


def standalone():
    """examples/dds_standalone.py as a module."""
    spec = importlib.util.spec_from_file_location("dds_standalone", ROOT / "examples" / "dds_standalone.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def contestants(folder: Path, steps: int) -> dict[str, Callable[[], object]]:
    """The same DDS edit three times: the library, the page of plain code, and nothing but its bare calls."""
    edit = random_edit(generator("validation", 0), "recolour")
    image = torch.from_numpy(render(edit.source, 128)).permute(2, 0, 1)[None] / 127.5 - 1
    prior = scumble.load(str(folder), device="cpu")
    request = EditRequest(image=image, source=edit.source_caption, target=edit.target_caption)
    method = scumble.DDS(steps=steps)
    page = standalone()
    model = page.Model(str(folder))
    times = torch.randint(50, 949, (steps, 1))
    tokens = model.embed(["", "", request.source, request.target]).detach()

    def library() -> object:
        return method(prior, request).image

    @torch.no_grad()
    def plain() -> object:
        return model.decode(page.dds(model, image, request.source, request.target, steps=steps))

    @torch.no_grad()
    def bare() -> object:
        z = model.encode(image)
        model.embed(["", "", request.source, request.target])
        x_t = z.repeat(4, 1, 1, 1)
        for t in times:
            model.unet(x_t, t, tokens)
        return model.decode(z)

    return {"library": library, "standalone page": plain, "bare calls": bare}


def interleaved(
    runs: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every run in every round, after one round that warms up."""
    order, seconds = list(runs), {name: [] for name in runs}
    shuffle = random.Random(0)
    for round_ in range(-1, rounds):
        shuffle.shuffle(order)
        for name in order:
            began = clock()
            runs[name]()
            if round_ >= 0:
                seconds[name].append(clock() - began)
    return seconds


def whole_process() -> tuple[float, float]:
    """(seconds, peak memory in GiB) of `scumble edit --method dds`, from start to file."""
    edit = random_edit(generator("validation", 0), "recolour")
    with tempfile.TemporaryDirectory() as folder:
        from PIL import Image

        before = Path(folder) / "before.png"
        Image.fromarray(render(edit.source, 128)).save(before)
        command = [sys.executable, "-m", "scumble", "edit", str(before), "--method", "dds"]
        command += ["--source", edit.source_caption, "--target", edit.target_caption]
        command += ["-o", str(Path(folder) / "after.png")]
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True
        )
        return time.perf_counter() - began, int(done.stdout.split()[-1]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="a diffusers folder (default: the built-in model)")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()

    seconds = interleaved(contestants(args.model or builtin("scenes"), args.steps), args.rounds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"DDS, {args.steps} steps, 4 evaluations each, medians of {args.rounds} interleaved rounds\n")
    print("| run | seconds | library takes |\n|---|---|---|")
    for name, value in median.items():
        print(f"| {name} | {value:.3f} | {median['library'] / value:.3f} x |")
    ratios = [a / b for a, b in zip(seconds["library"], seconds["bare calls"], strict=True)]
    print(f"\nlibrary / bare calls, round by round: {', '.join(f'{r:.3f}' for r in ratios)}")
    if args.model is None:
        took, peak = whole_process()
        print(
            f"`scumble edit --method dds` (200 steps), whole process: {took:.1f} s, peak memory {peak:.2f} GiB"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
