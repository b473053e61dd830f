"""Batches of unequal lengths: every example once, little padding, nothing lost in it."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data.text_input import bucketed_batches, pad

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=300).map(torch.tensor)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(lengths=LENGTHS, batch_size=st.integers(1, 50), seed=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_every_example_is_in_one_batch_and_the_number_of_batches_is_the_same_for_every_seed(lengths, batch_size, seed):
    batches = bucketed_batches(lengths, batch_size, generator(seed))
    assert sorted(torch.cat(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert max(map(len, batches)) <= batch_size and sum(len(batch) < batch_size for batch in batches) <= 1


@given(lengths=LENGTHS, batch_size=st.integers(1, 50), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_batches_follow_from_the_generator_alone(lengths, batch_size, seed):
    torch.manual_seed(seed)
    first, second = (bucketed_batches(lengths, batch_size, generator(seed)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_another_seed_is_another_order_and_lengths_are_not_in_order():
    lengths = torch.randint(1, 60, (4000,), generator=generator(0))
    first, second = (bucketed_batches(lengths, 32, generator(seed)) for seed in (1, 2))
    assert not torch.equal(torch.cat(first), torch.cat(second))
    means = torch.tensor([float(lengths[batch].float().mean()) for batch in first])
    position = torch.arange(len(means)).float()
    assert abs(torch.corrcoef(torch.stack([means, position]))[0, 1]) < 0.3


def test_buckets_pad_far_less_than_random_batches():
    lengths = torch.randint(1, 60, (4000,), generator=generator(0))
    padding = {
        name: sum(int((lengths[batch].max() - lengths[batch]).sum()) for batch in batches)
        for name, batches in {
            "bucketed": bucketed_batches(lengths, 32, generator(1)),
            "random": torch.randperm(4000, generator=generator(1)).split(32),
        }.items()
    }
    assert padding["bucketed"] < 0.1 * padding["random"]


@given(lengths=LENGTHS, seed=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_padding_keeps_every_token_and_marks_the_rest(lengths, seed):
    tokens = torch.randint(1, 1000, (int(lengths.sum()),), generator=generator(seed), dtype=torch.int32)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    indices = torch.randperm(len(lengths), generator=generator(seed))[:7]
    ids, mask = pad(tokens, offsets, indices, pad_id=0)
    assert ids.dtype == torch.int64 and mask.dtype == torch.bool
    assert ids.shape == mask.shape == (len(indices), int(lengths[indices].max()))
    for row, shown, index in zip(ids, mask, indices.tolist(), strict=True):
        assert row[shown].tolist() == tokens[offsets[index] : offsets[index + 1]].tolist()
        assert shown.tolist() == sorted(shown.tolist(), reverse=True) and not row[~shown].any()
