"""Step by step against the authors' own code.

Every case found under tests/goldens, or under the folder that SCUMBLE_GOLDENS names, is checked by the check
of its method; a case that no check knows fails. All values come from the case's JSON: a new case needs no
code.
"""

from pathlib import Path

import pytest

from .attention import check_masactrl, check_plug_and_play, check_prompt_to_prompt
from .case import ROOT, Case, find
from .chains import check_ddim, check_ddpm
from .constrained import check_blended_latent_diffusion, check_ilvr, check_repaint
from .diffedit import check_diffedit
from .directions import check_asyrp, check_diffusionclip
from .distil import check_cds, check_ids, check_pds
from .edits import check_dds, check_sdedit, check_sds
from .guided import check_blended_diffusion, check_classifier_guidance, check_sdg
from .inversions import check_direct_inversion, check_null_text
from .ledits import check_ledits_pp
from .paths import check_dds_ef, check_edit_friendly, check_flowedit
from .pix2pix import check_pix2pix_zero
from .sr3 import check_sr3

CHECKS = {
    "asyrp": check_asyrp,
    "blended_diffusion": check_blended_diffusion,
    "classifier_guidance": check_classifier_guidance,
    "blended_latent_diffusion": check_blended_latent_diffusion,
    "cds": check_cds,
    "ddim": check_ddim,
    "ddpm": check_ddpm,
    "diffedit": check_diffedit,
    "diffusionclip": check_diffusionclip,
    "direct_inversion": check_direct_inversion,
    "null_text": check_null_text,
    "dds": check_dds,
    "dds_ef": check_dds_ef,
    "edit_friendly": check_edit_friendly,
    "flowedit": check_flowedit,
    "ids": check_ids,
    "ilvr": check_ilvr,
    "pds": check_pds,
    "masactrl": check_masactrl,
    "plug_and_play": check_plug_and_play,
    "prompt_to_prompt": check_prompt_to_prompt,
    "ledits_pp": check_ledits_pp,
    "pix2pix_zero": check_pix2pix_zero,
    "repaint": check_repaint,
    "sdedit": check_sdedit,
    "sdg": check_sdg,
    "sds": check_sds,
    "sr3": check_sr3,
}
# Not in the quick lane, which has at least one case of every kind of loop.
SLOW = (
    "blended_diffusion/", "blended_latent_diffusion/", "cds/", "classifier_guidance/condition_score",
    "dds/batch2", "dds/notebook_vpred", "dds_ef/", "diffedit/", "direct_inversion/", "edit_friendly/", "ids/",
    "ledits_pp/", "masactrl/", "null_text/", "pds/", "pix2pix_zero/", "plug_and_play/", "prompt_to_prompt/re", "sds/",
)  # fmt: skip


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


CASES = [
    pytest.param(path, id=name(path), marks=pytest.mark.slow if name(path).startswith(SLOW) else ())
    for path in find()
]


def test_there_are_cases() -> None:
    assert find(), f"no golden cases under {ROOT}"


@pytest.mark.parametrize("path", CASES)
def test_golden(path: Path) -> None:
    case = Case(path)
    check = CHECKS.get(case.method)
    if check is None:
        pytest.fail(f"no check knows the method {case.method!r}", pytrace=False)
    check(case)
    case.all_compared()
