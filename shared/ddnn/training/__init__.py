"""Joint training of all exits, resumable."""

from ddnn.training.config import Config, TrainingConfig
from ddnn.training.run import Run
from ddnn.training.train import Silent, Watcher, initial_network, train

__all__ = ["Config", "Run", "Silent", "TrainingConfig", "Watcher", "initial_network", "train"]
