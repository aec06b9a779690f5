"""The public names, and that importing them or asking for help costs nothing."""

import subprocess
import sys

import pytest

import scumble
from scumble.methods import METHODS

NAMES = [
    "CDS", "Cancelled", "Card", "DDIMInversion", "DDS", "DDSFast", "DiffEdit", "DirectInversion", "Edit",
    "EditFriendly", "EditRequest", "FlowEdit", "IDS", "InputError", "Inversion", "LEDITSpp", "MachineError", "MasaCtrl",
    "NFSD", "NPI", "Noise", "NullText", "P2P", "PDS", "Pix2PixZero", "PlugAndPlay", "Prior", "SBP", "SDEdit",
    "SDS", "Schedule", "Step", "Tape", "Text", "edit", "load", "pull",
]  # fmt: skip
HEAVY = ["torch", "numpy", "PIL", "diffusers", "transformers", "accelerate"]


def test_public_names_are_frozen() -> None:
    assert scumble.__all__ == sorted(scumble.__all__) == NAMES
    assert set(NAMES) <= set(dir(scumble))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    assert getattr(scumble, name).__name__ == name


def test_every_method_is_there() -> None:
    classes = {place.partition(":")[2] for place in METHODS.values()}
    assert classes <= set(NAMES)


def test_no_other_name_is() -> None:
    with pytest.raises(AttributeError, match="sumble"):
        _ = scumble.sumble  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "code",
    [
        "import scumble, scumble.api, scumble.cli.app",
        "from scumble.cli import run; run(['--help'])",
        "from scumble.cli import run; run(['edit', '--help'])",
        "from scumble.cli import run; assert run(['edit', 'missing.png', '--target', 'x']) == 2",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    allowed = "['numpy', 'PIL']" if "missing.png" in code else "[]"
    check = f"\nimport sys\nassert not [m for m in {HEAVY} if m in sys.modules and m not in {allowed}]"
    subprocess.run([sys.executable, "-c", code + check], check=True, capture_output=True)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no resource module")
def test_help_takes_less_than_0_4_seconds() -> None:
    """Of the processor's time, for the wall clock depends on what else runs; the best of three."""
    import resource

    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "scumble", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.4
