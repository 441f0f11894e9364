"""Ids under ``ldm_hf/``: adapters of libraries that are no Gymnasium ids, and the small environments of domains that have no library."""

import gymnasium

ENTRY_POINTS = {
    "JobShop-v0": ("adapters.job_shop:JobShopEnv", None),
    "MetaWorld-v0": ("adapters.metaworld:make_metaworld", 150),
    "NASim-v0": ("adapters.nasim:make_nasim", 200),
    "Altered-v0": ("adapters.altered:make_altered", None),
    "BSuite-v0": ("adapters.bsuite:BSuiteEnv", 1000),
    "BaseStock-v0": ("inventory:BaseStockEnv", 50),
    "Crafter-v0": ("adapters.crafter:CrafterEnv", None),
    "FixedOrderCost-v0": ("inventory:FixedOrderCostEnv", 50),
    "RDDL-v0": ("adapters.rddl:RDDLEnv", None),
    "SerialSupplyChain-v0": ("inventory:SerialSupplyChainEnv", 50),
    "HomeBattery-v0": ("energy:HomeBatteryEnv", 72),
    "SimulatedStocks-v0": ("trading:SimulatedStocksEnv", None),
    "SuperMario-v0": ("adapters.super_mario:make_super_mario", 2000),
    "Jumanji-v0": ("adapters.jumanji:Jumanji", None),
    "Grid2Op-v0": ("adapters.grid2op:make_grid2op", None),
    "StableRetro-v0": ("adapters.stable_retro:make_stable_retro", 4500),
    "TrafficLights-v0": ("adapters.sumo_rl:TrafficLights", None),
    "OpenEnv-v0": ("adapters.openenv:OpenEnv", 1000),
}


def register() -> None:
    """Makes the ids known to Gymnasium."""
    for name, (entry_point, limit) in ENTRY_POINTS.items():
        gymnasium.register(f"ldm_hf/{name}", entry_point=f"ldm_hf.environments.{entry_point}", max_episode_steps=limit)
