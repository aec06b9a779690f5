"""Moved to `scumble.tasks`."""

from scumble.tasks import MOST as MOST
from scumble.tasks import SEED as SEED
from scumble.tasks import folder_tasks as folder_tasks
from scumble.tasks import scene_tasks as scene_tasks
