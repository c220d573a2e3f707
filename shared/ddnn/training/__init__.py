"""Joint training of all exits, resumable."""

from ddnn.training.config import Config, TrainingConfig
from ddnn.training.loader import Batch, Loader
from ddnn.training.run import Run
from ddnn.training.trainer import Trainer, Watcher, initial_network, train

__all__ = ["Batch", "Config", "Loader", "Run", "Trainer", "TrainingConfig", "Watcher", "initial_network", "train"]
