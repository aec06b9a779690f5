"""Checks every annotation of the inner rooms at run time, tensor shapes included; import it before they are.

An int is a float here, as in PEP 484.
"""

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
# Not the methods: what users type reaches their constructors, which refuse it in words of their own.
ROOMS = [f"scumble.{room}" for room in ("core", "loops", "scores")]

install_import_hook(ROOMS, "tests.typecheck.check")
