"""Text-driven image editing with diffusion models.

    import scumble

    edit = scumble.edit("in.png", source="a red circle on a white background",
                        target="a blue circle on a white background", method=scumble.DDS(steps=100))
    edit.picture.save("out.png")

Names are resolved on first use (PEP 562): `import scumble` imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scumble.api import edit, load
    from scumble.core.errors import InputError, MachineError
    from scumble.core.noise import Noise, Tape
    from scumble.core.prior import Card, Prior, Text
    from scumble.core.request import Cancelled, Edit, EditRequest, Step, pull
    from scumble.core.schedule import Schedule
    from scumble.methods.dds import DDS
    from scumble.methods.sdedit import SDEdit
    from scumble.methods.sds import SDS

__version__ = "0.1.0"

__all__ = [
    "Cancelled",
    "Card",
    "DDS",
    "Edit",
    "EditRequest",
    "InputError",
    "MachineError",
    "Noise",
    "Prior",
    "SDEdit",
    "SDS",
    "Schedule",
    "Step",
    "Tape",
    "Text",
    "edit",
    "load",
    "pull",
]

_HOME = {
    "Cancelled": "core.request",
    "Card": "core.prior",
    "DDS": "methods.dds",
    "Edit": "core.request",
    "EditRequest": "core.request",
    "InputError": "core.errors",
    "MachineError": "core.errors",
    "Noise": "core.noise",
    "Prior": "core.prior",
    "SDEdit": "methods.sdedit",
    "SDS": "methods.sds",
    "Schedule": "core.schedule",
    "Step": "core.request",
    "Tape": "core.noise",
    "Text": "core.prior",
    "edit": "api",
    "load": "api",
    "pull": "core.request",
}


def __getattr__(name: str) -> Any:
    """Import `name` from the module that defines it and remember it here."""
    if name not in _HOME:
        raise AttributeError(f"module 'scumble' has no attribute {name!r}")
    value = getattr(import_module(f"scumble.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
