"""Training recipes: every number that decides how a model is trained, and the presets."""

from .fields import Setting, settings_of
from .presets import RECIPES
from .recipe import Recipe

__all__ = ["RECIPES", "Recipe", "Setting", "settings_of"]
