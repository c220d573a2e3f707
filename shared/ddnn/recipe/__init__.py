"""A recipe that fits itself: which network, and how it learns, found on the events that are not tested."""

from ddnn.recipe.search import TRIALS_FILE, Recipe, Trial, find

__all__ = ["TRIALS_FILE", "Recipe", "Trial", "find"]
