"""Data and batches for tests of the training."""

import pytest

from ldm_hf.training import SegmentDataset, processor_for
from ldm_hf.trajectories import WindowSampler, open_dataset

from ..runs import SEGMENT, write_dataset


@pytest.fixture()
def streams(tmp_path):
    write_dataset(tmp_path / "data")
    return open_dataset(tmp_path / "data")


@pytest.fixture()
def make_dataset(config, streams):
    processor = processor_for(config, streams)

    def make(seed=0, rank=0, batch_size=6, world_size=2, **shares):
        lengths = {name: stream.num_steps for name, stream in streams.items()}
        sampler = WindowSampler(lengths, SEGMENT, batch_size, seed, rank, world_size)
        return SegmentDataset(streams, processor, sampler, num_batches=8, **shares)

    return make
