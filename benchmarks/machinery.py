"""How fast the machinery is: what the library adds, what precision, layout and batches change, what methods take.

Every table is of interleaved runs in one process, medians over rounds; memory is measured in processes of their own.
On a processor the seconds are its own, summed over threads, so that other programs do not count.

    python benchmarks/machinery.py [--only overhead precision batch methods full] [--compile] [--rounds 7]

* overhead: methods against the network and codec calls within them;
* precision: one call of the network in several precisions and layouts, and compiled (--compile: a minute more);
* batch: DDS on 1 to 16 pictures at once; the cost of a picture must not rise;
* methods: evaluations, time and peak memory of every method;
* full: a network of Stable Diffusion 1.5's size with random weights, on a CUDA device: seconds of an edit, peak
  memory, and the share of the device's matrix rate that the network reaches. Without such a device the last of these
  is measured on the built-in network and this processor.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import islice
from typing import Any

import torch
from full_size import CONFIGS, edit, random_prior
from speed import interleaved
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import scumble
from scumble.core import machine
from scumble.core.pixels import to_images
from scumble.core.precision import fast_dtype
from scumble.core.request import EditRequest
from scumble.editing.plan import choose
from scumble.methods import METHODS, get
from scumble.priors._parts import quiet
from scumble.priors.stable_diffusion import StableDiffusionPrior
from scumble.scenes import edits, render

ROWS = 4  # of one DDS call: two prompts with and without guidance
BATCHES = (1, 2, 4, 8, 16)  # pictures
WORDS = {"nfsd": {"bad": "a gray picture"}, "sbp": {"good": "", "bad": "a gray picture"}}
Run = Callable[[], object]


def request(prior: StableDiffusionPrior, pictures: int = 1) -> EditRequest:
    """Recolourings of the validation split."""
    some = list(islice(edits("validation", 0, ["recolour"]), pictures))
    return EditRequest(
        image=to_images([render(each.source, prior.card.size) for each in some]),
        source=[each.source_caption for each in some],
        target=[each.target_caption for each in some],
    )


def method(prior: StableDiffusionPrior, name: str, steps: int | None) -> Any:
    """A method with the values that the model recommends, and `steps` unless it has none."""
    settings: dict[str, object] = dict(WORDS.get(name, {}))
    if steps and "steps" in {field.name for field in fields(get(name))}:
        settings["steps"] = steps
    return choose(name, get(name), prior.card, settings)[0]


def medians(runs: dict[str, Run], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    return {name: statistics.median(seconds) for name, seconds in interleaved(runs, rounds, clock).items()}


def clock(device: torch.device) -> Callable[[], float]:
    """A processor's own seconds, which leave out what else the machine does; an accelerator's are those of the wall."""
    return time.process_time if device.type == "cpu" else time.perf_counter


def table(title: str, heads: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    """Rows in Markdown, each as soon as it is known."""
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)


# What the library adds -----------------------------------------------------------------------------------


@contextmanager
def inside(prior: StableDiffusionPrior) -> Iterator[list[float]]:
    """The seconds that each call of a network takes, those of the codec and the text encoder included."""
    calls: list[float] = []
    vae = prior._vae
    hooks = [
        hook
        for part in (prior._unet, prior._text_encoder, vae.encoder, vae.decoder)
        for hook in (
            part.register_forward_pre_hook(lambda *_: calls.append(-time.process_time())),
            part.register_forward_hook(lambda *_: calls.append(calls.pop() + time.process_time())),
        )
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def overhead(
    prior: StableDiffusionPrior, steps: int, rounds: int, names: Sequence[str]
) -> Iterator[Sequence[object]]:
    """Of the methods that ask the network as it is: no pass backward, no change of its attention."""
    asked = request(prior)
    for name in names:
        needs = get(name).needs
        if needs.gradient or needs.control:
            continue
        chosen, ratios = method(prior, name, steps), list[float]()
        made = chosen(prior, asked)  # warms up
        for _ in range(rounds):
            with inside(prior) as calls:
                started = time.process_time()
                chosen(prior, asked)
                ratios.append((time.process_time() - started) / sum(calls))
        yield name, made.evaluations, f"{statistics.median(ratios):.3f} x"


# What precision and layout change ------------------------------------------------------------------------


def variants(network: nn.Module, compiled: bool) -> dict[str, nn.Module]:
    """The network as it is, and otherwise."""

    def other(dtype: torch.dtype, layout: torch.memory_format = torch.preserve_format) -> nn.Module:
        with quiet():
            return copy.deepcopy(network).to(dtype=dtype, memory_format=layout)

    made = {
        "float32": other(torch.float32),
        "float32, channels last": other(torch.float32, torch.channels_last),
    }
    device = next(network.parameters()).device
    if fast_dtype(str(device)) == torch.bfloat16:  # elsewhere it is emulated, up to 18 times slower
        made |= {
            "bfloat16": other(torch.bfloat16),
            "bfloat16, channels last": other(torch.bfloat16, torch.channels_last),
        }
    if compiled:
        made |= {
            f"{name}, compiled": torch.compile(made[name]) for name in ("float32", "bfloat16") if name in made
        }  # pyright: ignore
    return made


def question(prior: StableDiffusionPrior, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, times and tokens of one call."""
    device, (height, width) = prior.device, (prior.card.size // prior._stride,) * 2
    tokens = prior.embed(["a red circle"]).expand(rows).tokens
    latent = torch.zeros(rows, prior._unet.config.in_channels, height, width, device=device)
    return latent, torch.full((rows,), 500, device=device), tokens


@torch.no_grad()
def ask(network: nn.Module, latent: Tensor, times: Tensor, tokens: Tensor) -> None:
    """One call, finished."""
    dtype = next(network.parameters()).dtype
    network(latent.to(dtype), times, tokens.to(dtype), return_dict=False)[0].flatten()[0].item()


def precision(
    prior: StableDiffusionPrior, compiled: bool, some_rows: Sequence[int], rounds: int
) -> Iterator[Sequence[object]]:
    asked = {rows: question(prior, rows) for rows in some_rows}
    made = variants(prior._unet, compiled)
    runs: dict[str, Run] = {
        f"{name} {rows}": lambda network=network, rows=rows: ask(network, *asked[rows])
        for name, network in made.items()
        for rows in some_rows
    }
    found = medians(runs, rounds, clock(prior.device))
    for name in made:
        cells = (
            f"{1000 * found[f'{name} {rows}'] / rows:.1f} ms, "
            f"{found[f'float32 {rows}'] / found[f'{name} {rows}']:.2f} x"
            for rows in some_rows
        )
        yield name, *cells


# What a batch changes ------------------------------------------------------------------------------------


def batch(
    prior: StableDiffusionPrior, steps: int, pictures: Sequence[int], rounds: int
) -> Iterator[Sequence[object]]:
    chosen = method(prior, "dds", steps)
    asked = {b: request(prior, b) for b in pictures}
    runs: dict[str, Run] = {str(b): lambda b=b: chosen(prior, asked[b]) for b in pictures}
    found = medians(runs, rounds, clock(prior.device))
    first = found[str(pictures[0])] / pictures[0]
    for b in pictures:
        each = found[str(b)] / b
        yield b, f"{found[str(b)]:.2f}", f"{each:.3f}", f"{each / first:.2f} x"


# What methods take ---------------------------------------------------------------------------------------


def alone(name: str, model: str, steps: int) -> tuple[int, float, float, float]:
    """Evaluations, seconds, and GB at most: of loading, and of the edit; in this process."""
    prior: Any = scumble.load(model, device="cpu")
    chosen, asked = method(prior, name, steps), request(prior)
    loaded = machine.peak() / 1e9
    started = time.process_time()
    made = chosen(prior, asked)
    return made.evaluations, time.process_time() - started, loaded, machine.peak() / 1e9


def methods(model: str, steps: int, names: Sequence[str]) -> Iterator[Sequence[object]]:
    context = multiprocessing.get_context("spawn")
    for name in names:
        with context.Pool(1) as pool:
            evaluations, seconds, loaded, most = pool.apply(alone, (name, model, steps))
        each = f"{1000 * seconds / evaluations:.0f}"
        yield name, evaluations, each, f"{most:.2f}", f"{max(most - loaded, 0):.2f}"


# The share of the matrix rate ----------------------------------------------------------------------------


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second in a product of large square matrices."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.ones(side, side, device=device, dtype=dtype)
    return 2 * side**3 / medians({"": lambda: (a @ a)[0, 0].item()}, 5, clock(device))[""]


def rate(prior: StableDiffusionPrior, some_rows: Sequence[int], rounds: int) -> Iterator[Sequence[object]]:
    """What the network reaches of it, over rows at once."""
    with FlopCounterMode(display=False) as counter:
        ask(prior._unet, *question(prior, 1))
    operations, most = counter.get_total_flops(), matrix_rate(prior.device, prior._unet.dtype)
    for rows in some_rows:
        asked = question(prior, rows)
        runs: dict[str, Run] = {"": lambda asked=asked: ask(prior._unet, *asked)}
        reached = rows * operations / medians(runs, rounds, clock(prior.device))[""]
        yield rows, f"{reached / 1e9:.0f}", f"{most / 1e9:.0f}", f"{reached / most:.0%}"


def full_size(steps: int) -> Iterator[Sequence[object]]:
    """Edits at 512 pixels on a CUDA device."""
    device = torch.device("cuda")
    prior = random_prior(CONFIGS / "sd1", device, torch.bfloat16)
    for name in ("dds", "dds_fast"):
        if name in METHODS:
            chosen = method(prior, name, steps if name == "dds" else None)
            edit(prior, chosen, 512)  # warms up
            torch.cuda.reset_peak_memory_stats()
            seconds, evaluations = edit(prior, chosen, 512)
            yield name, evaluations, f"{seconds:.2f}", f"{torch.cuda.max_memory_allocated() / 1e9:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sections = ("overhead", "precision", "batch", "methods", "full")
    parser.add_argument("--only", nargs="+", choices=sections, default=sections)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, nargs="+", default=[ROWS, 32], help="of a call of the network")
    parser.add_argument("--pictures", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    args = parser.parse_args()

    steps, rounds = args.steps, args.rounds
    prior: Any = scumble.load(args.model, device="cpu", dtype="float32")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {steps} steps, medians of {rounds}")
    if "overhead" in args.only:
        heads = ("method", "evaluations", "the library takes")
        table("What the library adds", heads, overhead(prior, steps, rounds, args.methods))
    if "precision" in args.only:
        heads = ("network", *(f"an evaluation, {rows} rows at once" for rows in args.rows))
        table("Precision and layout", heads, precision(prior, args.compile, args.rows, rounds))
    if "batch" in args.only:
        heads = ("pictures", "seconds", "a picture", "against one")
        table("DDS on several pictures", heads, batch(prior, steps, args.pictures, rounds))
    if "methods" in args.only:
        heads = ("method", "evaluations", "ms each", "peak GB", "of them for the edit")
        table("Methods, each in a process of its own", heads, methods(args.model, steps, args.methods))
    if "full" in args.only:
        heads = ("rows", "GFLOP/s", "matrix rate", "share")
        if torch.cuda.is_available():
            edits_heads = ("method", "evaluations", "seconds", "peak GB")
            table("Stable Diffusion 1.5's size, 512 px, bfloat16", edits_heads, full_size(200))
            large = random_prior(CONFIGS / "sd1", torch.device("cuda"), torch.bfloat16)
            table(torch.cuda.get_device_name(), heads, rate(large, (1, 2, 4, 8, 16, 32, 64), rounds))
        else:
            print("\nStable Diffusion 1.5's size: not measured, there is no CUDA device here")
            table("This network on this processor", heads, rate(prior, args.rows, rounds))


if __name__ == "__main__":
    main()
