"""The experiments of papers as small scripts: each measures, draws, and says whether the published claim holds here."""
