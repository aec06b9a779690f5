"""The house's rules, read off the source: imports go down only, some words are said in one place only."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src/scumble"

# room -> the rooms it may import besides itself
BELOW_SURFACES = {
    "api", "plan", "passport", "checks", "machine", "layer", "canvas", "files", "methods", "tuning", "loops", "scores",
    "forms", "inversions", "artifacts", "attention", "core", "priors", "scenes", "judge", "measures", "tasks",
}  # fmt: skip
MAY_IMPORT = {
    "core": set(),
    "attention": {"core"},
    "scores": {"attention", "core"},
    "loops": {"attention", "core"},
    "tuning": {"attention", "core"},
    "forms": {"loops", "core"},
    "inversions": {"tuning", "loops", "attention", "core"},
    "methods": {"inversions", "tuning", "loops", "scores", "attention", "core"},
    "scenes": set(),
    "judge": {"scenes", "core"},
    "tasks": {"judge", "checks", "canvas", "files", "scenes", "core"},
    "files": {"core"},
    "artifacts": {"files", "core"},
    "canvas": {"files", "core"},
    "layer": {"canvas", "files", "core"},
    "priors": {"attention", "machine", "core"},
    "checks": {"methods", "core"},
    "machine": {"core"},
    "measures": {"core"},
    "passport": set(),
    "plan": {"artifacts", "passport", "checks", "machine", "layer", "canvas", "files", "forms", "core"},
    "api": {
        "plan",
        "passport",
        "checks",
        "machine",
        "layer",
        "canvas",
        "files",
        "forms",
        "methods",
        "core",
        "priors",
    },
    "testing": BELOW_SURFACES,
    "train": BELOW_SURFACES,
    "bench": BELOW_SURFACES,
    "reproduce": BELOW_SURFACES,
    "batch": BELOW_SURFACES,
    "web": BELOW_SURFACES,
    "cli": BELOW_SURFACES | {"train", "bench", "reproduce"},  # the front door to the others
    "__init__": BELOW_SURFACES,
    "__main__": {"cli"},
}
THIRD_PARTY = {
    "core": {"torch", "numpy", "jaxtyping"},
    "attention": {"torch", "jaxtyping"},
    "scores": {"torch", "jaxtyping"},
    "loops": {"torch", "jaxtyping"},
    "tuning": {"torch", "jaxtyping"},
    "inversions": {"torch"},
    "artifacts": {"safetensors"},
    "forms": {"torch", "numpy", "PIL", "jaxtyping"},
    "methods": {"torch", "jaxtyping"},
    "scenes": {"numpy"},
    "judge": {"numpy"},
    "tasks": {"torch", "numpy", "PIL"},
    "reproduce": {"torch", "numpy", "PIL", "matplotlib"},
    "files": {"numpy", "PIL"},
    "canvas": {"torch", "numpy", "PIL"},
    "layer": {"torch", "numpy", "PIL"},
    "checks": {"torch"},
    "machine": {"torch", "psutil"},
    "measures": {"torch", "numpy", "PIL"},
    "passport": set(),
    "plan": {"torch", "numpy", "PIL"},
    "api": {"torch", "PIL"},
}
ABOVE_PRIORS = [
    "core",
    "attention",
    "scores",
    "loops",
    "tuning",
    "forms",
    "methods",
    "scenes",
    "files",
    "canvas",
    "layer",
    "machine",
    "measures",
    "passport",
    "plan",
    "tasks",
    "reproduce",
    "api",
    "cli",
]
WORDS = ["diffusers", "transformers", ".unet", ".vae", "0.18215", "cuda"]
HAS_A_GENERATOR_OF_ITS_OWN = {"scenes", "train", "testing", "bench"}  # the bench resamples its figures
RANDOM = {
    "rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm", "multinomial",
    "normal", "normal_", "uniform_", "exponential_", "bernoulli", "bernoulli_", "poisson",
    "manual_seed", "seed_all", "set_rng_state", "Generator", "default_rng",
}  # fmt: skip
HEAVY = {"torch", "diffusers", "transformers", "accelerate"}

MODULES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """The full name of all that `path` imports, and whether at the top level (TYPE_CHECKING aside)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(n)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
        for n in ast.walk(f)
    }
    typing = {
        id(n)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for n in ast.walk(block)
    }
    for node in ast.walk(tree):
        at_top = id(node) not in inside and id(node) not in typing
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["scumble", *path.relative_to(SOURCE).parts][: -node.level] if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            yield from ((f"{module}.{alias.name}", at_top) for alias in node.names)


def name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def test_every_room_has_a_rule() -> None:
    assert {room(path) for path in MODULES} <= set(MAY_IMPORT)
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    wanted = {module.split(".")[1] for module, _ in imports(path) if module.startswith("scumble.")}
    assert wanted - {here} <= MAY_IMPORT[here] | {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_third_parties_stay_in_their_rooms(path: Path) -> None:
    used = {module.split(".")[0] for module, _ in imports(path)} - set(sys.stdlib_module_names) - {"scumble"}
    here = room(path)
    if here in THIRD_PARTY:
        assert used <= THIRD_PARTY[here] | ({"PIL"} if path.name == "request.py" else set())
    elif here not in {"priors", "train"}:
        assert not used & {"diffusers", "transformers"}


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) == "methods"], ids=name)
def test_methods_do_not_know_each_other(path: Path) -> None:
    shared = "scumble.methods._"  # what several methods are made of, itself no method
    wanted = {module for module, _ in imports(path) if module.startswith("scumble.methods.")}
    assert not {module for module in wanted if not module.startswith(shared)}


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) in ABOVE_PRIORS], ids=name)
def test_nothing_above_priors_names_a_network_library(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not [word for word in WORDS if word in text]


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) not in HAS_A_GENERATOR_OF_ITS_OWN], ids=name)
def test_only_noise_draws(path: Path) -> None:
    if name(path) == "core/noise.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    drawn = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & RANDOM
    drawn |= {
        module for module, _ in imports(path) if module.split(".")[0] == "random" or module == "numpy.random"
    }
    assert not drawn


@pytest.mark.parametrize(
    "path",
    [
        p
        for p in MODULES
        if room(p)
        in {"cli", "api", "plan", "passport", "machine", "checks", "files", "canvas", "layer", "__init__"}
    ],
    ids=name,
)
def test_heavy_imports_happen_inside_functions(path: Path) -> None:
    top = {module.split(".")[0] for module, at_top in imports(path) if at_top}
    assert not top & HEAVY


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
