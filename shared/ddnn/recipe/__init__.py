"""A recipe that fits itself: which network, and how it learns, found on the events that are not tested."""

from ddnn.recipe.memory import Memory, key_of
from ddnn.recipe.search import TRIALS_FILE, Recipe, Trial, find, scores_of
from ddnn.recipe.starts import Looks, start

__all__ = ["TRIALS_FILE", "Looks", "Memory", "Recipe", "Trial", "find", "key_of", "scores_of", "start"]
