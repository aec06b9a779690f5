"""Card fields that the authors of a family, or of a method on it, published; in comments where."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scumble.priors._conditions import Config
from scumble.priors._families import FAMILIES
from scumble.priors._folder import Folder

DISTILLED = re.compile(r"(?<![a-z])(turbo|lcm|lightning|hyper[-_ ]?sd)(?![a-z])", re.IGNORECASE)
Values = Mapping[str, Any]

PUBLISHED: Mapping[str, Values] = {
    "sdxl": {"recommended": {"sampling": {"steps": 50, "guidance": 5.0}}},  # diffusers' pipeline
    "sd3": {
        "method": "flowedit",
        "recommended": {
            # FlowEdit's SD3_exp.yaml: n_max 33 of 50 steps.
            "flowedit": {"steps": 50, "strength": 33 / 50, "source_guidance": 3.5, "guidance": 13.5},
            "sampling": {"steps": 28, "guidance": 7.0},  # diffusers' pipeline
        },
    },
    "flux": {
        "guidance": "embedded",
        "method": "flowedit",
        "recommended": {
            # FlowEdit's FLUX_exp.yaml: n_max 24 of 28 steps.
            "flowedit": {"steps": 28, "strength": 24 / 28, "source_guidance": 1.5, "guidance": 5.5},
            "sampling": {"steps": 28, "guidance": 3.5},  # diffusers' pipeline
        },
    },
    "pixart": {"recommended": {"sampling": {"steps": 20, "guidance": 4.5}}},  # diffusers' pipelines
    # diffusers' pipeline, whose guidance 5 is 6 here; FlowEdit published no values for it.
    "zimage": {"method": "flowedit", "recommended": {"sampling": {"steps": 50, "guidance": 6.0}}},
    # diffusers' pipelines; FlowEdit published no values for these.
    "flux2": {
        "guidance": "embedded",
        "method": "flowedit",
        "recommended": {"sampling": {"steps": 50, "guidance": 4.0}},
    },
    "klein": {"method": "flowedit", "recommended": {"sampling": {"steps": 50, "guidance": 4.0}}},
    "qwen": {
        "method": "flowedit",
        "norm": 2,
        "recommended": {"sampling": {"steps": 50, "guidance": 4.0}},
    },
    "sana": {"method": "flowedit", "recommended": {"sampling": {"steps": 20, "guidance": 4.5}}},
    "klein, distilled": {
        "guidance": "none",
        "method": "flowedit",
        "steps": 4,
        "recommended": {
            # On its own grid, as schnell's.
            "flowedit": {"steps": 4, "strength": 0.75, "source_guidance": 1.0, "guidance": 1.0},
            "sampling": {"steps": 4, "guidance": 1.0},  # the model's page: 4 steps, no guidance
        },
    },
    "schnell": {
        "guidance": "none",
        "method": "flowedit",
        "steps": 4,
        "recommended": {
            # On its own grid.
            "flowedit": {"steps": 4, "strength": 0.75, "source_guidance": 1.0, "guidance": 1.0},
            "sampling": {"steps": 4, "guidance": 1.0},  # the model's page: 4 steps, no guidance
        },
    },
}
# The pages of SDXL Turbo, SDXL Lightning, Hyper-SD, LCM and SD 3.5 Turbo: 1 to 8 steps without guidance.
FEW: Values = {"steps": 4, "recommended": {"sampling": {"steps": 4, "guidance": 1.0}}}
FEW_OF: Mapping[str, Values] = {
    "zimage": {
        "steps": 8,
        "recommended": {
            # On its own grid, as schnell's.
            "flowedit": {"steps": 8, "strength": 0.75, "source_guidance": 1.0, "guidance": 1.0},
            "sampling": {"steps": 8, "guidance": 1.0},  # Z-Image Turbo's page
        },
    },
    "klein": PUBLISHED["klein, distilled"],
}


def published(family: str, configs: Mapping[str, Config]) -> dict[str, Any]:
    """The fields of a family, and of the version that its configs tell."""
    kind = family
    if family == "flux":
        kind = "flux" if configs["transformer"].get("guidance_embeds") else "schnell"
    if family == "klein" and configs["model_index"].get("is_distilled"):
        kind = "klein, distilled"
    fields: dict[str, Any] = {"dtype": FAMILIES[family].half, **PUBLISHED.get(kind, {})}
    if family == "sd3" and configs["transformer"].get("qk_norm"):
        # Stability's sd3_infer.py: 4.5 for 3.5 large, 5 for 3.5 medium.
        large = not configs["transformer"].get("dual_attention_layers")
        sampling = {"steps": 40, "guidance": 4.5 if large else 5.0}
        fields["recommended"] = {**fields["recommended"], "sampling": sampling}
    return fields


def distilled(folder: Folder, added: Sequence[str] = ()) -> str | None:
    """What shows that a checkpoint was distilled for few steps: a name, `added` those of LoRAs, or its scheduler."""
    if folder.family() == "pixel":
        return None
    if folder.index.get("is_distilled"):
        return "is_distilled in its model_index.json"
    names = [folder.name.rstrip("/\\").replace("\\", "/").rpartition("/")[2], folder.id, *added]
    named = next((found[0] for name in names if (found := DISTILLED.search(name))), None)
    scheduler = str(folder.config("scheduler").get("_class_name"))
    if named is None and not re.match("LCM|TCD", scheduler):
        return None
    return f"'{named}' in its name" if named else f"its {scheduler}"
