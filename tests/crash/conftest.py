"""The crash suite's fixtures."""

from tests.support.spine import fragile_stage, real_stage, restartable_stage
from tests.support.wrong_clocks import wrong_clocks

__all__ = ["fragile_stage", "real_stage", "restartable_stage", "wrong_clocks"]
