"""Ids under ``ldm_hf/``: adapters of libraries that are no Gymnasium ids, and the small environments of domains that have no library."""

import gymnasium

ENTRY_POINTS = {
    "JobShop-v0": ("jssenv.adapter:JobShopEnv", None),
    "MetaWorld-v0": ("metaworld.adapter:make_metaworld", 150),
    "NASim-v0": ("nasim.adapter:make_nasim", 200),
    "Altered-v0": ("gymnasium.adapter:make_altered", None),
    "BSuite-v0": ("bsuite.adapter:BSuiteEnv", 1000),
    "BaseStock-v0": ("stockpyl.environment:BaseStockEnv", 50),
    "Crafter-v0": ("crafter.adapter:CrafterEnv", None),
    "FixedOrderCost-v0": ("stockpyl.environment:FixedOrderCostEnv", 50),
    "RDDL-v0": ("pyrddlgym.adapter:RDDLEnv", None),
    "SerialSupplyChain-v0": ("stockpyl.environment:SerialSupplyChainEnv", 50),
    "HomeBattery-v0": ("pvlib.environment:HomeBatteryEnv", 72),
    "SimulatedStocks-v0": ("gym_anytrading.environment:SimulatedStocksEnv", None),
    "SuperMario-v0": ("gym_super_mario_bros.adapter:make_super_mario", 2000),
    "Jumanji-v0": ("jumanji.adapter:Jumanji", None),
    "Grid2Op-v0": ("grid2op.adapter:make_grid2op", None),
    "StableRetro-v0": ("stable_retro.adapter:make_stable_retro", 4500),
    "TrafficLights-v0": ("sumo_rl.adapter:TrafficLights", None),
    "OpenEnv-v0": ("openenv_core.adapter:OpenEnv", 1000),
}


def register() -> None:
    """Makes the ids known to Gymnasium."""
    for name, (entry_point, limit) in ENTRY_POINTS.items():
        gymnasium.register(f"ldm_hf/{name}", entry_point=f"ldm_hf.libraries.{entry_point}", max_episode_steps=limit)
