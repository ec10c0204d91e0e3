"""Fixtures of the commands' tests that need a whole stage."""

from tests.support.spine import real_stage, restartable_stage, stage

__all__ = ["real_stage", "restartable_stage", "stage"]
