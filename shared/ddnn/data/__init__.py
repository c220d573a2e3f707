"""Everybody's data under one contract: arrays of what D devices saw of N events, checked, split, torch-free."""

from ddnn.data.dataset import Dataset
from ddnn.data.mixed import mixed
from ddnn.data.source import load
from ddnn.data.split import SPLIT_NAMES

__all__ = ["SPLIT_NAMES", "Dataset", "load", "mixed"]
