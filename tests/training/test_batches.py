"""Batches for training, each of which can be recomputed from seed, rank and step alone."""

import numpy as np
import pytest
import torch

from ldm_hf.actions_ldm import NO_LABEL
from ldm_hf.environments.disguises import PairDisguise
from ldm_hf.environments.specs import endless
from ldm_hf.errors import ArgumentError, NonFiniteError
from ldm_hf.layout_ldm import EnvironmentLayout
from ldm_hf.spaces import space_to_json
from ldm_hf.training import (
    SegmentDataset,
    processor_for,
)
from ldm_hf.training.pretraining import with_random_worlds
from ldm_hf.trajectories import EnvironmentInfo, TrajectoryWriter, WindowSampler, open_dataset

from ..conftest import random_steps
from ..runs import ENVIRONMENTS, SEGMENT


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_batch_depends_on_seed_rank_and_step_alone(make_dataset):
    dataset, again = make_dataset(), make_dataset()
    batches = [dataset[step] for step in range(8)]
    for step in reversed(range(8)):
        assert same(batches[step], again[step])
    others = [batches[4], make_dataset(seed=1)[3], make_dataset(rank=1)[3]]
    assert not any(same(batches[3], other) for other in others)
    assert len(dataset) == len(list(dataset)) == 8
    for step in (-1, 8):
        with pytest.raises(IndexError):
            dataset[step]


def test_environments_tell_whose_rows_these_are(make_dataset):
    dataset = make_dataset()
    batch, names = dataset[2], dataset.environments(2)
    assert set(names) == set(ENVIRONMENTS) and len(names) == 6
    for row, name in enumerate(names):
        signature = dataset.processor.layout(name).signature
        assert batch["signature"][row].tolist() == [*signature, *[0] * (batch["signature"].shape[1] - len(signature))]


def test_a_segment_is_a_piece_of_its_stream(make_dataset):
    """The step before it is known as history but has no token; statistics and scales are those of the environment."""
    dataset = make_dataset()
    whole = dataset.processor.layout("Arm-v0").encode_segment(dataset.trajectories["Arm-v0"].slice(0, 50))
    for start in (0, 1, 28, 50 - SEGMENT):
        piece, stop = dataset.encode("Arm-v0", start, 1, 1, 1, 0), start + SEGMENT
        assert piece.length == SEGMENT
        np.testing.assert_allclose(piece.observation.numeric, whole.observation.numeric[start:stop])
        for name in ("categorical", "action_numeric", "feedback", "labels"):
            assert np.array_equal(getattr(piece, name), getattr(whole, name)[start:stop]), name


def test_a_short_stream_is_padded_without_labels(make_dataset):
    dataset = make_dataset()
    batch, row = dataset[0], dataset.environments(0).index("Short-v0")
    labels = batch["labels"][batch["element_rows"] == row]
    assert labels.shape == (1, SEGMENT) and (labels[:, :5] != NO_LABEL).all() and (labels[:, 5:] == NO_LABEL).all()


def test_segments_without_statistics_task_or_rewards(make_dataset):
    dataset = make_dataset(unknown_statistics=0.3, no_task=0.3, no_reward=0.3)
    full = dataset.encode("Arm-v0", 10, 0.3, 0.3, 0.3, 0)
    assert full.task.any() and full.feedback[:, 2].all()
    no_statistics, no_task, no_reward = (
        dataset.encode("Arm-v0", 10, *(0.29 if which == index else 0.3 for index in range(3)), 0) for which in range(3)
    )
    assert not np.allclose(no_statistics.observation.numeric, full.observation.numeric)
    assert not no_statistics.observation.numeric[0].any()  # the first step of a stream is its own mean
    assert not no_task.task.any() and np.array_equal(no_task.feedback, full.feedback)
    assert not no_reward.feedback[:, :3].any() and no_reward.task.any()


def test_some_segments_have_no_previous_actions_and_are_else_the_same(make_dataset):
    plain, hidden = make_dataset(), make_dataset(no_action=0.5)
    hides = 0
    for step in range(8):
        for name, value in (first := plain[step]).items():
            if name not in ("categorical", "action_numeric"):
                assert torch.equal(value, hidden[step][name]), name
        rows = (first["action_numeric"] != hidden[step]["action_numeric"]).flatten(1).any(1)
        assert not hidden[step]["action_numeric"][rows].any()
        hides += int(rows.sum())
    arms = sum(dataset.environments(step).count("Arm-v0") for dataset in (plain,) for step in range(8))
    assert 0.2 < hides / arms < 0.8  # only that environment has continuous actions
    choices = make_dataset(no_action=1.0).encode("Text-v0", 3, 1, 1, 1, 0, 0.0)
    known = plain.encode("Text-v0", 3, 1, 1, 1, 0)
    observed = choices.observation.categorical.shape[1]
    assert not choices.categorical[:, observed:].any() and known.categorical[:, observed:].any()
    assert np.array_equal(choices.labels, known.labels) and np.array_equal(choices.feedback, known.feedback)


def test_a_segment_can_begin_where_its_episode_does(make_dataset):
    anywhere, some = make_dataset(), make_dataset(beginnings=0.5)
    starts = anywhere.trajectories["Arm-v0"].episode_starts
    inside = next(start for start in range(4, 25) if start not in starts)
    episode = int(starts[starts <= inside].max())
    steps = anywhere.trajectories["Arm-v0"].slice(episode, episode + SEGMENT)
    expected = anywhere.processor.layout("Arm-v0").encode_segment(steps)  # of a stream that begins there
    moved, stayed = (some.encode("Arm-v0", inside, 1, 1, 1, 0, beginning=chance) for chance in (0.49, 0.5))
    assert np.array_equal(moved.observation.numeric, expected.observation.numeric) and np.array_equal(
        moved.labels, expected.labels
    )
    assert not np.array_equal(stayed.observation.numeric, expected.observation.numeric)
    assert any(not torch.equal(anywhere[step]["labels"], some[step]["labels"]) for step in range(4))


def test_labels_that_repeat_the_action_before_are_thinned_out(make_dataset):
    plain, thinned = make_dataset(), make_dataset(repeated_labels=0.3)
    kept, repeated = 0, 0
    for start in range(4, 25, 4):
        full, some, again = (
            dataset.encode("Text-v0", start, 1, 1, 1, 0, repeats=start / 40) for dataset in (plain, thinned, thinned)
        )
        assert np.array_equal(some.labels, again.labels) and np.array_equal(some.categorical, full.categorical)
        steps = plain.trajectories["Text-v0"].slice(start - 1, start - 1 + SEGMENT)  # what came before each label
        executed = plain.processor.layout("Text-v0").actions.positions(steps["action"])
        repeats = (executed == full.labels).all(axis=1) & ~(steps["terminated"] | steps["truncated"])
        left = (some.labels != NO_LABEL).all(axis=1)
        assert left[~repeats].all() and np.array_equal(some.labels[left], full.labels[left])
        assert (some.labels[~left] == NO_LABEL).all()
        kept, repeated = kept + int(left[repeats].sum()), repeated + int(repeats.sum())
    assert repeated > 5 and 0 < kept < repeated


def test_a_segment_that_only_repeats_keeps_a_label(tmp_path, config):
    """Else it would have no loss, and a batch of such segments none either."""
    observation_space, action_space, _ = ENVIRONMENTS["Short-v0"]
    steps = random_steps(observation_space, action_space, 40)
    for part in ("action", "label"):
        steps[part] = {path: values[:1].repeat(40, 0) for path, values in steps[part].items()}
    steps["terminated"][:] = steps["truncated"][:] = False
    info = EnvironmentInfo("Same-v0", "Same-v0", space_to_json(observation_space), space_to_json(action_space))
    with TrajectoryWriter(tmp_path / "same", info) as out:
        out.write(steps)
    streams, sampler = open_dataset(tmp_path / "same"), WindowSampler({"Same-v0": 40}, SEGMENT, 2)
    labels = SegmentDataset(streams, processor_for(config, streams), sampler, 4, repeated_labels=0.0)[1]["labels"]
    assert ((labels != NO_LABEL).sum(1) == 1).all()


def test_of_an_action_of_many_elements_each_segment_is_trained_on_others(make_dataset):
    plain, few, again = make_dataset(), make_dataset(most_elements=1), make_dataset(most_elements=1)
    drawn = set()
    for step in range(8):
        full, some = plain[step], few[step]
        assert same(some, again[step])
        assert some["element_rows"].tolist() == full["element_rows"].unique().tolist()  # one for each row
        for row, number, labels in zip(some["element_rows"], some["element_ids"], some["labels"], strict=True):
            own = (full["element_rows"] == row) & (full["element_ids"] == number)
            assert torch.equal(full["labels"][own], labels[None])
            drawn.add((few.environments(step)[row], int(number)))
    assert len(drawn) > len(plain.trajectories)


def test_some_segments_are_disguised_and_the_others_the_same(make_dataset):
    plain, some, again = make_dataset(), make_dataset(disguised=0.5), make_dataset(disguised=0.5)
    changed = []
    for step in reversed(range(8)):
        assert same(some[step], again[step])
        names = ("signature", "numeric", "categorical", "action_numeric")
        rows = torch.stack([(plain[step][name] != some[step][name]).flatten(1).any(1) for name in names])
        changed += rows.any(0).tolist()
        assert torch.equal(plain[step]["feedback"], some[step]["feedback"])
    assert 0.2 < np.mean(changed) < 0.8


@pytest.mark.parametrize("statistics", [0.0, 1.0])
def test_a_disguised_segment_is_what_an_agent_in_disguise_would_see(make_dataset, statistics):
    """Of the disguised environment's own spaces and statistics, label and all."""
    dataset = make_dataset(disguised=1.0)
    stream, layout = dataset.trajectories["Arm-v0"], dataset.processor.layout("Arm-v0")
    found = dataset.encode("Arm-v0", 10, statistics, 1, 1, 0, disguise=0.0, kind=0.3)
    disguise = PairDisguise(stream.observation_space, stream.action_space, int(0.3 * 2**53), None)
    past = int(statistics)  # without the stream's past, which 0 says, nothing comes before
    steps = disguise.steps(stream.slice(10 - past, 10 + SEGMENT))
    spaces, task = disguise.spaces, dataset.processor.environments["Arm-v0"]["task"]
    own = EnvironmentLayout(layout.sizes, *spaces, "Arm-v0", disguise.statistics(stream.statistics()), task)
    expected = own.encode_segment(steps, past=past, known_statistics=bool(statistics))
    np.testing.assert_allclose(found.observation.numeric, expected.observation.numeric, rtol=1e-5)
    assert np.array_equal(found.layout.signature, own.signature)
    assert np.array_equal(found.labels, expected.labels)
    assert np.array_equal(found.action_numeric, expected.action_numeric)


def test_segments_of_endless_worlds_are_decided_by_their_number(config, streams):
    processor = processor_for(config, streams)
    sources, weights = with_random_worlds(streams, SEGMENT, 0.4)
    assert sum(weights[name] for name in endless()) == pytest.approx(0.4 * sum(weights.values()))

    def batches(rank=0, batch_size=24, world_size=1):
        lengths = {name: stream.num_steps for name, stream in sources.items()}
        sampler = WindowSampler(lengths, SEGMENT, batch_size, 3, rank, world_size, weights)
        return SegmentDataset(sources, processor, sampler, 100)

    whole, parts = batches(), [batches(rank, 12, 2) for rank in (0, 1)]
    names = [name for step in range(100) for name in whole.environments(step)]
    drawn = [name for name in names if name in endless()]
    assert {*drawn} == {*endless()} and len(drawn) / len(names) == pytest.approx(0.4, abs=0.01)
    assert whole.transitions(drawn[:3]) == 3 * SEGMENT and not endless().keys() & processor.environments.keys()
    assert same(whole[5], batches()[5])
    for step in (0, 7):
        losses = torch.cat([part[step]["feedback"] for part in parts])
        assert torch.equal(losses, whole[step]["feedback"])


def test_segments_of_endless_worlds_begin_their_streams(config, streams):
    """Standardised by what was seen so far, as an agent in an unknown environment does, with the task of their kind."""
    processor, (sources, weights) = processor_for(config, streams), with_random_worlds(streams, SEGMENT, 0.9)
    sampler = WindowSampler({name: stream.num_steps for name, stream in sources.items()}, SEGMENT, 1, weights=weights)
    dataset, start = SegmentDataset(sources, processor, sampler, 1, disguised=1.0), 40 * SEGMENT
    for statistics in (0.0, 0.99):
        found = dataset.encode("RandomWorlds-linear", start, statistics, 1, 1, 0.5, disguise=0.0)
        history = sources["RandomWorlds-linear"].history(start)
        spaces, task = (history.observation_space, history.action_space), endless()["RandomWorlds-linear"].task
        layout = EnvironmentLayout(processor.sizes, *spaces, task=task)
        expected = layout.encode_segment(history.steps, known_statistics=False)
        assert same(processor([found]), processor([expected])) and not found.feedback[0].any()


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_an_impossible_share_of_worlds_is_named(streams, share):
    with pytest.raises(ArgumentError, match="--random_worlds is"):
        with_random_worlds(streams, SEGMENT, share)


def test_statistics_of_a_stream_come_from_before_its_segment(make_dataset):
    """As in a roll-out that has been going on for a while; never from before the stream's own start."""
    dataset = make_dataset(unknown_statistics=1, max_past=16)
    layout, stream = dataset.processor.layout("Arm-v0"), dataset.trajectories["Arm-v0"]
    whole = layout.encode_segment(stream.slice(0, 50), known_statistics=False)
    longest = dataset.encode("Arm-v0", 12, 0, 1, 1, 0.99)  # 16 ** 0.99 - 1 is more than there is before step 12
    np.testing.assert_allclose(longest.observation.numeric, whole.observation.numeric[12 : 12 + SEGMENT], rtol=1e-5)
    shorter = dataset.encode("Arm-v0", 12, 0, 1, 1, 0.5)
    piece = layout.encode_segment(stream.slice(9, 12 + SEGMENT), past=3, known_statistics=False)
    assert np.array_equal(shorter.observation.numeric, piece.observation.numeric)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_shares_are_those_asked_for(make_dataset, share):
    dataset = make_dataset(batch_size=40, unknown_statistics=0, no_task=share, no_reward=0)
    without = torch.stack([(dataset[step]["task"] == 0).all(dim=1) for step in range(8)])
    assert without.double().mean().item() == pytest.approx(share, abs=0.08 if 0 < share < 1 else 0)
    assert len({str(rows) for rows in without.tolist()}) == (8 if 0 < share < 1 else 1)


def test_processes_and_micro_batches_share_the_batch_of_one_process(make_dataset):
    whole = make_dataset(batch_size=4, world_size=1)
    halves = [make_dataset(batch_size=2, rank=rank) for rank in (0, 1)]
    micro = make_dataset(batch_size=2, world_size=1)
    for step in range(3):
        batch = whole[step]
        for parts in ([half[step] for half in halves], [micro[2 * step], micro[2 * step + 1]]):
            steps = np.concatenate([part["feedback"] for part in parts])
            assert np.array_equal(steps, batch["feedback"])
            assert np.array_equal(np.concatenate([part["task"] for part in parts]), batch["task"])
    assert len(np.unique(batch["task"].any(1))) == 2  # with and without a task text


def test_padding_is_no_transition(make_dataset):
    dataset = make_dataset()
    names = dataset.environments(0)
    assert "Short-v0" in names
    assert dataset.transitions(names) == sum(5 if name == "Short-v0" else SEGMENT for name in names)


def test_a_batch_trains(make_dataset, model):
    dataset = make_dataset()
    output = model(**dataset[0])
    output.loss.backward()
    assert torch.isfinite(output.row_losses).all() and output.row_losses.shape == (6,)


def test_nan_in_trajectories_names_the_environment(tmp_path, config):
    observation_space, action_space, _ = ENVIRONMENTS["Short-v0"]
    steps = random_steps(observation_space, action_space, 5)
    steps["observation"][""][3, 1] = np.nan
    info = EnvironmentInfo("Broken-v0", "Broken-v0", space_to_json(observation_space), space_to_json(action_space))
    with TrajectoryWriter(tmp_path, info) as out:
        out.write(steps)
    streams = open_dataset(tmp_path)
    dataset = SegmentDataset(streams, processor_for(config, streams), WindowSampler({"Broken-v0": 5}, 5, 1), 1)
    with pytest.raises(NonFiniteError, match="Broken-v0"):
        dataset[0]


def test_the_processor_knows_the_dataset(config, streams):
    processor = processor_for(config, streams)
    processor.check_model(config)
    assert set(processor.environments) == set(ENVIRONMENTS)
    for name, stream in streams.items():
        layout = processor.layout(name)
        assert layout.observation_space == stream.observation_space and layout.action_space == stream.action_space
        assert layout.reward_rms == pytest.approx(np.sqrt(np.mean(stream.slice(0, stream.num_steps)["reward"] ** 2.0)))
        assert layout.task_ids.any() and np.array_equal(layout.task_ids, layout.encode_task(f"do {name}"))
    np.testing.assert_allclose(
        processor.layout("Short-v0").mean, streams["Short-v0"].slice(0, 5)["observation"][""].mean(0), rtol=1e-5
    )
