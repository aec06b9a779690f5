"""The house's rules, read off the source: imports go down only, some words are said in one place only."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src/scumble"

# room -> the rooms it may import besides itself
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "scenes": {"core"},
    "attention": {"core"},
    "artifacts": {"core"},
    "pictures": {"core"},
    "scores": {"attention", "core"},
    "loops": {"attention", "core"},
    "tuning": {"loops", "attention", "core"},
    "forms": {"loops", "core"},
    "inversions": {"tuning", "loops", "attention", "artifacts", "core"},
    "networks": {"core"},
    "methods": {"networks", "inversions", "tuning", "loops", "scores", "attention", "artifacts", "core"},
    "priors": {"attention", "core"},
    "measuring": {"scenes", "pictures", "core"},
    "editing": {
        "measuring",
        "pictures",
        "priors",
        "forms",
        "networks",
        "methods",
        "tuning",
        "loops",
        "attention",
        "artifacts",
        "core",
    },
    "api": {"editing", "core"},
}
BELOW_SURFACES = {*MAY_IMPORT}
SURFACES = {"train", "bench", "reproduce", "batch", "page", "testing"}
MAY_IMPORT |= {
    **dict.fromkeys(SURFACES, BELOW_SURFACES),
    "cli": BELOW_SURFACES | SURFACES,  # the front door to the others
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
    "artifacts": {"torch", "safetensors"},
    "forms": {"torch", "numpy", "PIL", "jaxtyping"},
    "methods": {"torch", "jaxtyping"},
    "networks": {"torch", "jaxtyping", "safetensors", "diffusers", "transformers"},
    "scenes": {"numpy"},
    "pictures": {"torch", "numpy", "PIL"},
    "measuring": {"torch", "numpy", "PIL"},
    "editing": {"torch", "numpy", "PIL"},
    "reproduce": {"torch", "numpy", "PIL", "matplotlib"},
    "api": {"torch", "PIL"},
    "page": {"torch", "PIL", "starlette", "uvicorn"},
}
ALSO = {"core/request.py": {"PIL"}, "core/machine.py": {"psutil"}}
KNOW_NETWORK_LIBRARIES = {"priors", "networks", "train", "testing"}
STAMPS_THEIR_VERSIONS = {"bench/stages.py"}
WORDS = ["diffusers", "transformers", ".unet", ".vae", "0.18215", "cuda"]
PLAIN_NUMPY = {"scumble.core.connected"}  # all that the scenes world may share with the rest
HAS_A_GENERATOR_OF_ITS_OWN = {"scenes", "train", "testing", "bench"}  # the bench resamples its figures
RANDOM = {
    "rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm", "multinomial",
    "normal", "normal_", "uniform_", "exponential_", "bernoulli", "bernoulli_", "poisson",
    "manual_seed", "seed_all", "set_rng_state", "Generator", "default_rng",
}  # fmt: skip
START = {
    "artifacts/store.py",
    "core/machine.py",
    "core/errors.py",
    "core/atomic.py",
}  # read before a command runs
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


def module(path: Path) -> str:
    return ".".join(["scumble", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")


def wanted(path: Path) -> set[str]:
    """The other modules of ours that `path` imports, each by its longest name that is one."""
    known = {module(p) for p in MODULES} - {"scumble"}
    parts = [full.split(".") for full, _ in imports(path)]
    named = {
        max((n for i in range(len(p)) if (n := ".".join(p[: i + 1])) in known), key=len, default="")
        for p in parts
    }
    return named - {module(path), ""}


def test_every_room_has_a_rule() -> None:
    assert {room(path) for path in MODULES} <= set(MAY_IMPORT)
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    wanted = {module.split(".")[1] for module, _ in imports(path) if module.startswith("scumble.")}
    assert wanted - {here} <= MAY_IMPORT[here] | {"__version__"}


def test_no_imports_go_in_circles() -> None:
    """Not between rooms, nor between the modules of one; imports for type checking count too."""
    left = {module(path): wanted(path) for path in MODULES}
    while ready := [here for here, needs in left.items() if not needs & left.keys()]:
        for here in ready:
            del left[here]
    assert not {here: sorted(needs & left.keys()) for here, needs in left.items()}


@pytest.mark.parametrize("path", sorted(SOURCE.glob("*/__init__.py")), ids=name)
def test_every_room_says_what_lives_there_and_what_may_not(path: Path) -> None:
    assert "\n\nNot here: " in (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_third_parties_stay_in_their_rooms(path: Path) -> None:
    used = {module.split(".")[0] for module, _ in imports(path)} - set(sys.stdlib_module_names) - {"scumble"}
    here = room(path)
    if here in THIRD_PARTY:
        assert used <= THIRD_PARTY[here] | ALSO.get(name(path), set())
    elif here not in {"priors", "train"}:
        assert not used & {"diffusers", "transformers"}


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) == "scenes"], ids=name)
def test_the_scenes_world_is_numpy_only(path: Path) -> None:
    assert {other for other in wanted(path) if not other.startswith("scumble.scenes")} <= PLAIN_NUMPY


@pytest.mark.parametrize("path", [p for p in MODULES if module(p) in PLAIN_NUMPY], ids=name)
def test_what_the_scenes_world_shares_is_plain_numpy(path: Path) -> None:
    assert {full.split(".")[0] for full, _ in imports(path)} - set(sys.stdlib_module_names) == {"numpy"}


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) == "methods"], ids=name)
def test_methods_do_not_know_each_other(path: Path) -> None:
    shared = "scumble.methods._"  # what several methods are made of, itself no method
    wanted = {module for module, _ in imports(path) if module.startswith("scumble.methods.")}
    assert not {module for module in wanted if not module.startswith(shared)}


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if room(p) not in KNOW_NETWORK_LIBRARIES and name(p) not in STAMPS_THEIR_VERSIONS],
    ids=name,
)
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
    [p for p in MODULES if room(p) in {"cli", "api", "editing", "pictures", "__init__"} or name(p) in START],
    ids=name,
)
def test_heavy_imports_happen_inside_functions(path: Path) -> None:
    top = {module.split(".")[0] for module, at_top in imports(path) if at_top}
    assert not top & HEAVY


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
