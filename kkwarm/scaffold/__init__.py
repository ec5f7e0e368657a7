"""Files of a new domain plugin, as `kkwarm new` writes them."""

from kkwarm.scaffold.templates import KINDS, render

__all__ = ["KINDS", "render"]
