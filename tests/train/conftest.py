"""The tiny checkpoint of the other surfaces."""

from tests.priors.conftest import pristine  # noqa: F401
from tests.surfaces.conftest import loaded, model  # noqa: F401
