"""Training recipes: the built-in prior, from nothing but the scenes generator."""
