"""Joint training of all exits, resumable."""

from ddnn.training.config import Config, TrainingConfig
from ddnn.training.exchange import Exchange, Silent, Watcher
from ddnn.training.initial import initial_network
from ddnn.training.loader import Batch, Loader
from ddnn.training.run import Run
from ddnn.training.trainer import Trainer, train

__all__ = ["Batch", "Config", "Exchange", "Loader", "Run", "Silent", "Trainer", "TrainingConfig", "Watcher"]
__all__ += ["initial_network", "train"]
