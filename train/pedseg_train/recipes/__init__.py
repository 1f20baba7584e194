"""Training recipes: every number that decides how a model is trained, and the presets."""

from .presets import RECIPES
from .recipe import Recipe
from .settings import Setting, settings_of

__all__ = ["RECIPES", "Recipe", "Setting", "settings_of"]
