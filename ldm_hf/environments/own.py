"""Ids under ``ldm_hf/``: adapters of libraries that are no Gymnasium ids, and the small environments of domains that have no library."""

import gymnasium

ENTRY_POINTS = {
    "MetaWorld-v0": ("adapters:make_metaworld", 150),
    "NASim-v0": ("adapters:make_nasim", 200),
    "BaseStock-v0": ("inventory:BaseStockEnv", 50),
    "FixedOrderCost-v0": ("inventory:FixedOrderCostEnv", 50),
    "SerialSupplyChain-v0": ("inventory:SerialSupplyChainEnv", 50),
    "HomeBattery-v0": ("energy:HomeBatteryEnv", 72),
    "SimulatedStocks-v0": ("trading:SimulatedStocksEnv", None),
    "SuperMario-v0": ("adapters:make_super_mario", 2000),
    "Jumanji-v0": ("adapters:Jumanji", None),
}


def register() -> None:
    """Makes the ids known to Gymnasium."""
    for name, (entry_point, limit) in ENTRY_POINTS.items():
        gymnasium.register(f"ldm_hf/{name}", entry_point=f"ldm_hf.environments.{entry_point}", max_episode_steps=limit)
