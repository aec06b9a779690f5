"""The models: the only code of inference that knows diffusers and transformers. One file per family; `load` finds them.

Not here: methods, loops, prompts. Only `editing`, surfaces and tests load a prior.
"""
