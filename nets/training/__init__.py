"""Training from a configuration: pairs, adversaries, and reblurring; resumed exactly, alone or with many processes.

::

    report = nets.train("my.toml")  # or a mapping, a TrainConfig, the name of a recipe
"""

from .config import TrainConfig
from .loop import TrainReport, train
from .optimisers import NonFiniteLossError
from .reading import recipes, with_settings

__all__ = ["NonFiniteLossError", "TrainConfig", "TrainReport", "recipes", "train", "with_settings"]
