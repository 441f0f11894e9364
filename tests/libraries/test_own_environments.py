"""The environments of our own and the adapters: contract, accounting, and that their references are what they say."""

import itertools
import math

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from ldm_hf.environments import make
from ldm_hf.environments.wrappers import GlobalRandomState
from ldm_hf.libraries.gym_anytrading.environment import MEAN_PRICE, SimulatedStocksEnv, simulate
from ldm_hf.libraries.pvlib.environment import FEED_IN, HOURS, LOAD, PRICE, HomeBatteryEnv
from ldm_hf.libraries.stockpyl.environment import SCALE, BaseStockEnv, FixedOrderCostEnv, SerialSupplyChainEnv
from ldm_hf.libraries.stockpyl.policies import BaseStock, EchelonBaseStock, ReorderPoint

from ..environments.test_environments import play, same

# --- our own environments: Gymnasium's contract ----------------------------------------------------------------------

OWN = {
    "BaseStock-v0": BaseStockEnv,
    "FixedOrderCost-v0": FixedOrderCostEnv,
    "SerialSupplyChain-v0": SerialSupplyChainEnv,
    "HomeBattery-v0": HomeBatteryEnv,
}


@pytest.mark.parametrize("name", OWN)
def test_our_environments_keep_the_contract_of_gymnasium(name):
    env = make(name).unwrapped
    assert type(env) is OWN[name]
    check_env(env, skip_render_check=True)


def test_simulated_stocks_keep_the_contract_of_gymnasium():
    check_env(SimulatedStocksEnv(), skip_render_check=True)


def test_nasim_keeps_the_contract_of_gymnasium():
    check_env(make("nasim-tiny"), skip_render_check=True)  # with the wrapper, which is what adapts it


# --- inventory -------------------------------------------------------------------------------------------------------


def average_cost(env: gymnasium.Env, policy, periods: int = 6000, warm_up: int = 100) -> float:
    """Per period, after the influence of the random start has gone."""
    observation, _ = env.reset(seed=0)
    costs = []
    for _ in range(periods + warm_up):
        observation, reward, *_ = env.step(policy(observation))
        costs.append(-reward / SCALE)
    return float(np.mean(costs[warm_up:]))


def poisson(mean: float, largest: int) -> np.ndarray:
    counts = np.arange(largest + 1)
    return np.exp(counts * np.log(mean) - mean - np.array([math.lgamma(count + 1) for count in counts]))


def period_cost(env: BaseStockEnv, level: int, demand: np.ndarray) -> float:
    """Expected holding and backorder cost of a period that begins with ``level`` units; demand is a distribution."""
    left = level - np.arange(len(demand))
    return float(demand @ (env.holding_cost * np.maximum(left, 0) + env.stockout_cost * np.maximum(-left, 0)))


def test_inventory_position_changes_by_order_minus_demand():
    env = BaseStockEnv(lead_time=3, fixed_cost=2.0)
    observation, _ = env.reset(seed=1)
    rng = np.random.default_rng(1)
    demands = []
    for _ in range(300):
        order, before = int(rng.integers(env.largest_order + 1)) * int(rng.integers(2)), observation.sum()
        observation, reward, *_ = env.step(order)
        assert observation.sum() == env.position
        demands.append(before + order - env.position)
        stock = observation[0]
        cost = env.holding_cost * max(stock, 0) + env.stockout_cost * max(-stock, 0) + 2.0 * (order > 0)
        assert reward == pytest.approx(-SCALE * cost)
    assert min(demands) >= 0 and all(demand == int(demand) for demand in demands)
    assert np.mean(demands) == pytest.approx(env.demand_mean, abs=4 * np.sqrt(env.demand_mean / 300))


@pytest.mark.parametrize("lead_time", [0, 1, 4])
def test_an_order_arrives_after_the_lead_time(lead_time):
    env = BaseStockEnv(demand_mean=1e-9, lead_time=lead_time)  # nobody buys
    env.reset(seed=0)
    levels = [env.step(order)[0][0] for order in (5, *[0] * lead_time)]
    assert levels == [0] * lead_time + [5]


@pytest.mark.parametrize("name", ["BaseStock-v0", "BaseStock-long-v0"])
def test_the_base_stock_level_is_optimal(name):
    env = make(name).unwrapped
    level = BaseStock(env).level
    demand = poisson(env.demand_mean * (env.lead_time + 1), 400)
    exact = {shift: period_cost(env, level + shift, demand) for shift in range(-4, 5)}
    assert min(exact, key=exact.get) == 0
    for shift in (-3, 0, 3):  # the formula is that of this environment
        found = average_cost(env, lambda o, s=level + shift: int(np.clip(s - o.sum(), 0, env.largest_order)))
        assert found == pytest.approx(exact[shift], rel=0.05)


def reorder_cost(env: FixedOrderCostEnv, low: int, high: int) -> float:
    """Exact average cost of (s, S): costs between two orders by their expected number of periods (renewal reward)."""
    demand = poisson(env.demand_mean, 200)
    visits = np.zeros(high - low)  # expected periods that begin `j` units below S, between two orders
    for j in range(high - low):
        earlier = sum(demand[i] * visits[j - i] for i in range(1, j + 1))
        visits[j] = ((j == 0) + earlier) / (1 - demand[0])
    costs = [period_cost(env, high - j, demand) for j in range(high - low)]
    return float((env.fixed_cost + visits @ costs) / visits.sum())


def test_the_reorder_point_is_optimal():
    env = FixedOrderCostEnv()
    reference = ReorderPoint(env)
    exact = {
        (down, up): reorder_cost(env, reference.low + down, reference.high + up)
        for down, up in itertools.product(range(-3, 4), repeat=2)
    }
    assert min(exact, key=exact.get) == (0, 0)
    for down, up in ((0, 0), (-2, 2)):
        low, high = reference.low + down, reference.high + up
        found = average_cost(env, lambda o, s=low, S=high: int(np.clip(S - o[0], 0, 36)) if o[0] <= s else 0)
        assert found == pytest.approx(exact[down, up], rel=0.03)


def test_goods_are_conserved_in_the_supply_chain():
    env = SerialSupplyChainEnv()
    before, _ = env.reset(seed=2)
    env.action_space.seed(2)
    demands = []
    for _ in range(200):
        order = env.action_space.sample() * 0.6  # sometimes too much, sometimes too little
        after, reward, *_ = env.step(order)
        # All goods: stage 2 is supplied with what it orders. Position of stage 1: goes up by what it orders.
        demand = before[:4].sum() + order[1] - after[:4].sum()
        assert before[[0, 2, 4]].sum() + order[0] - after[[0, 2, 4]].sum() == pytest.approx(demand, abs=2e-3)
        assert (
            after[1] >= 0 and after[4] >= 0 and min(after[1], after[4]) < 1e-4
        )  # nothing is owed that could be shipped
        stocks = 2.0 * max(after[0], 0) + 1.0 * (after[1] + after[2]) + 15.0 * max(-after[0], 0)
        assert reward == pytest.approx(-SCALE * stocks, abs=1e-3)
        demands.append(demand)
        before = after
    assert min(demands) > -2e-3
    assert np.mean(demands) == pytest.approx(10, abs=4 * 2.5 / np.sqrt(200))


def chain_costs(first: np.ndarray, second: np.ndarray, periods: int, replications: int, seed: int = 0) -> np.ndarray:
    """Average costs per period of echelon levels (arrays of one shape) in the default `SerialSupplyChainEnv`."""
    rng = np.random.default_rng(seed)
    first, second = first[..., None], second[..., None]
    stock, upstream, to_first, to_second = (np.full((*first.shape[:-1], replications), 10.0) for _ in range(4))
    owed, total = np.zeros_like(stock), np.zeros_like(stock)
    for _ in range(periods):
        orders = (
            np.clip(first - (stock + to_first + owed), 0, 40),
            np.clip(second - (stock + to_first + upstream + to_second), 0, 40),
        )
        stock, upstream, owed = stock + to_first, upstream + to_second, owed + orders[0]
        to_first, to_second = np.minimum(owed, upstream), orders[1]
        owed, upstream = owed - to_first, upstream - to_first
        stock = stock - np.maximum(rng.normal(10, 2.5, replications), 0)
        total += 2 * np.maximum(stock, 0) + upstream + to_first + 15 * np.maximum(-stock, 0)
    return total.mean(-1) / periods


def test_the_levels_of_the_supply_chain_are_close_to_the_best():
    env = SerialSupplyChainEnv()
    reference = EchelonBaseStock(env)
    first, second = reference.levels
    grid = np.meshgrid(first + np.arange(-5, 6), second + np.arange(-5, 6), indexing="ij")
    costs = chain_costs(*grid, periods=300, replications=60)
    best, found = costs.min(), costs[5, 5]
    assert found <= 1.03 * best
    assert costs.max() > 1.5 * best  # levels matter: the grid is no plateau
    own = average_cost(env, lambda observation: reference.act(env, observation, {}), periods=3000)
    assert own == pytest.approx(found, rel=0.03)  # the fast simulation is the environment's


# --- energy ----------------------------------------------------------------------------------------------------------


def test_the_battery_never_holds_more_than_its_capacity_or_less_than_nothing():
    env = HomeBatteryEnv()
    rng = np.random.default_rng(0)
    charge, power = rng.uniform(0, env.capacity, 10_000), rng.uniform(-3, 3, 10_000)
    net_load = rng.normal(size=10_000)
    bought, after = env.transition(charge, power, net_load)
    assert after.min() >= 0 and after.max() <= env.capacity + 1e-9
    into = bought - net_load
    assert (np.abs(into) <= np.abs(power) + 1e-12).all() and (into * power >= 0).all()
    # What goes in is stored with losses, what comes out is delivered as it is.
    np.testing.assert_allclose(after - charge, np.where(into > 0, env.efficiency * into, into), atol=1e-12)
    assert (into == 0).sum() < 100 and (after == 0).any()  # the limits are reached, but not always


def test_storing_and_taking_out_again_loses_energy():
    env = HomeBatteryEnv()
    bought, charge = env.transition(0.0, 2.0, 0.0)
    sold, left = env.transition(charge, -3.0, 0.0)
    assert (bought, left) == (2.0, 0.0)
    assert -sold == pytest.approx(2.0 * env.efficiency)


def test_the_bill_is_paid_for_what_is_bought_and_sold():
    env = HomeBatteryEnv()
    assert len(LOAD) == len(PRICE) == HOURS
    assert min(PRICE) > FEED_IN  # else buying to sell at once would pay
    observation, _ = env.reset(seed=3)
    env.action_space.seed(3)
    bought_and_sold = set()
    for _ in range(200):
        hour, (charge, load, panels, price) = int(observation["hour"]), observation["state"].astype(float)
        assert price == pytest.approx(PRICE[hour]) and 0 <= panels <= env.solar[hour]
        action = env.action_space.sample()
        bought, after = env.transition(charge, float(action[0]) * env.power, load - panels)
        observation, reward, terminated, truncated, _ = env.step(action)
        assert reward == pytest.approx(-(bought * PRICE[hour] if bought > 0 else bought * FEED_IN), abs=1e-5)
        assert observation["state"][0] == pytest.approx(after, abs=1e-5)
        assert observation["hour"] == (hour + 1) % HOURS and not (terminated or truncated)
        bought_and_sold.add(bool(bought > 0))
    assert bought_and_sold == {True, False}


def test_the_sun_shines_by_day_and_more_in_the_south():
    north, south = (HomeBatteryEnv(latitude=latitude).solar for latitude in (60.0, 35.0))
    assert south[0] == 0 and south[12] > 2 and south.sum() > north.sum()
    assert (north >= 0).all()


# --- trading ---------------------------------------------------------------------------------------------------------


def test_prices_follow_their_process():
    rng = np.random.default_rng(0)
    deviation = simulate(rng, 20_000, "reverting") - MEAN_PRICE
    assert deviation.mean() == pytest.approx(0, abs=0.5)
    assert deviation.std() == pytest.approx(2 / np.sqrt(1 - 0.85**2), rel=0.05)
    assert np.corrcoef(deviation[:-1], deviation[1:])[0, 1] == pytest.approx(0.85, abs=0.02)
    changes = np.diff([simulate(rng, 100, "trending") for _ in range(100)])
    assert np.corrcoef(changes[:, :-1].ravel(), changes[:, 1:].ravel())[0, 1] == pytest.approx(0.8, abs=0.03)
    assert min(simulate(rng, 5000, "trending")) >= 1  # a random walk of this length falls below zero


def test_every_reset_draws_new_prices():
    env = SimulatedStocksEnv()
    first = env.reset(seed=1)[0], env.prices.copy()
    second = env.reset(seed=2)[0], env.prices.copy()
    again = env.reset(seed=1)[0], env.prices.copy()
    assert not same(first, second) and same(first, again)
    assert not same(first, (env.reset()[0], env.prices))


@pytest.mark.parametrize("process", ["reverting", "trending"])
def test_a_sale_earns_the_price_difference_since_the_purchase(process):
    env = SimulatedStocksEnv(process, steps=80)
    observation, _ = env.reset(seed=4)
    env.action_space.seed(4)
    bought_at, earned, rewards, truncated = None, 0.0, [], False
    while not truncated:
        assert env.observation_space.contains(observation)
        action = env.action_space.sample()
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        price = float(observation[-1, 0])  # trades are made at the price that the step shows
        if action == 1 and bought_at is None:
            bought_at = price
        elif action == 0 and bought_at is not None:
            earned, bought_at = earned + price - bought_at, None
        assert sum(rewards) == pytest.approx(earned, abs=1e-3)
        assert not terminated
    assert len(rewards) == 80 and sum(reward != 0 for reward in rewards) > 5


# --- adapters --------------------------------------------------------------------------------------------------------


def test_numpys_outside_generator_is_not_touched():
    np.random.seed(5)
    expected = np.random.random(4)
    np.random.seed(5)
    drawn = [np.random.random()]
    env = make("nasim-tiny")
    drawn.append(np.random.random())
    play(env, seed=1)
    drawn.append(np.random.random())
    play(env, seed=2)
    drawn.append(np.random.random())
    assert drawn == expected.tolist()


def test_numpys_outside_generator_is_given_back_after_an_error():
    class Draws(gymnasium.Env):
        observation_space = action_space = gymnasium.spaces.Discrete(100)

        def reset(self, *, seed=None, options=None):
            return np.int64(np.random.randint(100)), {}

        def step(self, action):
            np.random.random()
            raise ZeroDivisionError

    env = GlobalRandomState(Draws())
    first = env.reset(seed=3)[0]
    state = np.random.get_state()[1].copy()
    with pytest.raises(ZeroDivisionError):
        env.step(0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert env.reset(seed=3)[0] == first


def test_environments_with_the_global_generator_do_not_disturb_each_other():
    one, other, alone = (make("nasim-tiny") for _ in range(3))
    for env in (one, alone):
        env.reset(seed=7)
    rng, outcomes = np.random.default_rng(7), []
    for step in range(150):
        action = int(rng.integers(one.action_space.n))
        other.reset(seed=step)
        other.step(action)
        outcomes.append(one.step(action)[:2])
        assert same(outcomes[-1], alone.step(action)[:2])
    assert len({reward for _, reward in outcomes}) > 1


@pytest.mark.slow
def test_the_goal_of_a_metaworld_task_depends_on_the_seed():
    env, other = make("metaworld-reach-v3"), make("metaworld-reach-v3")
    goals = [env.reset(seed=seed)[0][-3:] for seed in range(8)]
    assert len({tuple(goal) for goal in goals}) >= 6
    for seed, goal in reversed(list(enumerate(goals))):
        np.testing.assert_array_equal(other.reset(seed=seed)[0][-3:], goal)
    following = [env.reset()[0][-3:] for _ in range(4)]  # without a seed the sequence goes on
    assert len({tuple(goal) for goal in following}) > 1
