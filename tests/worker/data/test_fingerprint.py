import hashlib

import numpy as np

from tests.worker.data.datasets import dataset
from worker.data.fingerprint import are_disjoint, fingerprints, split_digest


def test_a_sample_is_known_by_its_bytes():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    expected = [hashlib.sha256(pixels[row].tobytes()).hexdigest().encode() for row in range(2)]
    assert fingerprints(dataset(x=pixels)).tolist() == expected


def test_memory_order_and_labels_do_not_matter():
    pixels = np.random.default_rng(0).random((5, 4, 6))
    plain = fingerprints(dataset(x=pixels))
    assert (fingerprints(dataset(x=np.asfortranarray(pixels))) == plain).all()
    assert (fingerprints(dataset(x=pixels, labels=np.arange(5))) == plain).all()


def test_every_array_counts():
    left, right = np.arange(6).reshape(3, 2), np.zeros((3, 2))
    changed = right.copy()
    changed[1, 0] = 1
    same = fingerprints(dataset(a=left, b=right)) == fingerprints(dataset(a=left, b=changed))
    assert same.tolist() == [True, False, True]


def test_samples_beyond_a_chunk_are_hashed_alike():
    values = np.arange(5000, dtype=np.int32).reshape(-1, 1) % 7
    assert len(np.unique(fingerprints(dataset(x=values)))) == 7


def test_the_digest_of_a_split_is_what_sort_and_sha256sum_give():
    digests = np.array([b"b" * 64, b"a" * 64])
    by_hand = hashlib.sha256(b"a" * 64 + b"\n" + b"b" * 64 + b"\n").hexdigest()
    assert split_digest(digests) == split_digest(digests[::-1]) == by_hand


def test_a_sample_in_two_splits_is_noticed_and_a_repeated_one_is_none():
    digests = fingerprints(dataset(x=np.array([[1], [2], [1], [3]])))
    assert not are_disjoint(digests[[0, 1]], digests[[2, 3]])
    assert are_disjoint(digests[[0, 2]], digests[[1]], digests[[3]])
