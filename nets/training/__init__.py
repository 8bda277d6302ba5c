"""Training from a configuration: pairs, adversaries, and reblurring; resumed exactly, alone or with many processes.

::

    report = nets.train("my.toml")  # or a mapping, a TrainConfig, the name of a recipe
"""

from .loop import TrainReport, train
from .optimisers import NonFiniteLossError
from .parallel import AgreedError, started_first
from .settings.config import TrainConfig
from .settings.reading import changed_settings, read_settings, recipes, with_settings

__all__ = [
    "AgreedError",
    "NonFiniteLossError",
    "TrainConfig",
    "TrainReport",
    "changed_settings",
    "read_settings",
    "recipes",
    "started_first",
    "train",
    "with_settings",
]
