"""Batches: a manifest of edits in, a folder of results out; complete, resumed, in this process or on many machines.

Not here: how one picture is edited (`editing`), or a scheduler: Ray distributes the work.
"""
