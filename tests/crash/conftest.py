"""The crash suite's fixtures."""

from tests.support.spine import fragile_stage, ledger_template, ledgers, real_stage, restartable_stage

__all__ = ["fragile_stage", "ledger_template", "ledgers", "real_stage", "restartable_stage"]
