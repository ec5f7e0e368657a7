"""Generated answers with known verdicts, for the adversarial search of ``kkwarm check math``."""

from kkwarm_math.cases.generators import GENERATORS

__all__ = ["GENERATORS"]
