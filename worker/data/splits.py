"""Who may see which sample: disjoint splits, decided by the content of the samples."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.contract.report import SplitInfo
from worker.data.dataset import Dataset
from worker.data.fingerprint import Digests, are_disjoint, fingerprints, split_digest

__all__ = ["Split", "Splits", "make_splits"]

Rows = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

# Shares when the upload has no split of its own. The confirm split carries the verdict, so a small class gives more
# than a fifth: 150 samples show non-inferiority of 5 points at 6 % changed answers with 80 % power (skew tables,
# paired non-inferiority). Never more than 40 %, or too little is left to train on. Beyond 20,000 samples in total the
# share shrinks: overall accuracy is known to a third of a point by then.
_CONFIRM_SHARE = 0.2
_CONFIRM_PER_CLASS = 150
_CONFIRM_SHARE_AT_MOST = 0.4
_CONFIRM_AT_MOST = 20_000

# The tuning split only picks an epoch: 2,000 samples tell accuracies apart to about one point.
_TUNING_SHARE = 0.1
_TUNING_AT_MOST = 2_000

# A class needs three distinct samples to be in train, tuning and confirm; smaller classes are divided as one.
_SMALLEST_STRATUM = 3


@dataclass(frozen=True)
class Split:
    """Rows of the dataset. `sha256` is that of the sorted content hashes of its samples."""

    rows: Rows
    sha256: str
    labelled: bool

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def info(self) -> SplitInfo:
        return SplitInfo(n=len(self), sha256=self.sha256, labels=self.labelled)


@dataclass(frozen=True)
class Splits:
    """`train`, `tuning` and `confirm` share no content; `calibration` is a part of `train`, class-stratified and in
    hash order, so that every run of consecutive rows mixes the classes.

    Any of them may be empty, and callers must look: a dataset that is all test leaves no `train`, a handful of samples
    leaves no `tuning` or `confirm`. `duplicates_removed` counts training rows whose content is also in the test split;
    they are in no split. `disjoint` is checked on the hashes, not assumed.
    """

    train: Split
    tuning: Split
    confirm: Split
    calibration: Split
    duplicates_removed: int
    disjoint: bool

    def infos(self) -> dict[str, SplitInfo]:
        """For the report, by name."""
        return {name: getattr(self, name).info for name in ("train", "tuning", "confirm", "calibration")}


def make_splits(dataset: Dataset, calibration_samples: int, seed: int) -> Splits:
    """Divide the dataset.

    With an uploaded train/test split, `confirm` is the test part and `tuning` a tenth of the training part. Without
    one (or with an empty test part) `confirm` is about a fifth of everything, more for small classes. Within a class
    samples are taken in the order of a hash of `seed` and their content: equal samples always land together, the
    order of the upload is irrelevant, and a sample that is added later moves no more than a few others.
    """
    digests = fingerprints(dataset)
    contents, content_of = np.unique(digests, return_inverse=True)
    keys = _order_keys(contents, seed)
    labels = dataset.labels if _are_classes(dataset.labels) else None
    strata = _content_strata(labels, content_of, len(contents))

    is_test_row = np.zeros(len(dataset), dtype=bool) if dataset.split is None else dataset.split == 1
    is_confirm = np.zeros(len(contents), dtype=bool)
    is_confirm[content_of[is_test_row]] = True
    if is_test_row.any():
        confirm_rows = np.flatnonzero(is_test_row)
        duplicates = int(np.count_nonzero(is_confirm[content_of] & ~is_test_row))
    else:
        is_confirm = _first_of_each(strata, keys, _confirm_counts)
        confirm_rows = np.flatnonzero(is_confirm[content_of])
        duplicates = 0

    pool = np.flatnonzero(~is_confirm)
    is_tuning = np.zeros(len(contents), dtype=bool)
    is_tuning[pool[_first_of_each(strata[pool], keys[pool], _tuning_counts)]] = True

    tuning_rows = np.flatnonzero(is_tuning[content_of])
    train_rows = np.flatnonzero(~(is_confirm | is_tuning)[content_of])
    row_strata = np.zeros(len(dataset), dtype=np.int64) if labels is None else _dense(labels)
    calibration_rows = _stratified(train_rows, row_strata, keys[content_of], calibration_samples)

    def split(rows: Rows) -> Split:
        return Split(rows.astype(np.int64), split_digest(digests[rows]), dataset.labels is not None)

    return Splits(
        train=split(train_rows),
        tuning=split(tuning_rows),
        confirm=split(confirm_rows),
        calibration=split(calibration_rows),
        duplicates_removed=duplicates,
        disjoint=are_disjoint(digests[train_rows], digests[tuning_rows], digests[confirm_rows]),
    )


def _order_keys(contents: Digests, seed: int) -> Keys:
    key = seed.to_bytes(8, "little")
    hashes = (hashlib.blake2b(digest, digest_size=8, key=key).digest() for digest in contents.tolist())
    return np.frombuffer(b"".join(hashes), dtype="<u8")


def _are_classes(labels: npt.NDArray[np.generic] | None) -> bool:
    return labels is not None and labels.ndim == 1 and labels.dtype.kind in "iub"


def _dense(values: npt.NDArray[np.generic]) -> Rows:
    dense: Rows = np.unique(values, return_inverse=True)[1].astype(np.int64)
    return dense


def _content_strata(labels: npt.NDArray[np.generic] | None, content_of: Rows, contents: int) -> Rows:
    """The stratum of each content: its class (the smallest, should copies disagree), tiny classes in one together."""
    if labels is None or contents == 0:
        return np.zeros(contents, dtype=np.int64)
    classes = _dense(labels)
    of_content = np.full(contents, np.iinfo(np.int64).max)
    np.minimum.at(of_content, content_of, classes)
    tiny = np.bincount(of_content) < _SMALLEST_STRATUM
    return _dense(np.where(tiny[of_content], -1, of_content))


def _positions(strata: Rows, keys: Keys) -> tuple[Rows, Rows]:
    """Each element's place (0, 1, ...) in the key order of its stratum, and the sizes of the strata."""
    sizes = np.bincount(strata)
    starts = np.cumsum(sizes) - sizes
    order = np.lexsort((keys, strata))
    positions = np.empty(len(strata), dtype=np.int64)
    positions[order] = np.arange(len(strata)) - starts[strata[order]]
    return positions, sizes


def _first_of_each(strata: Rows, keys: Keys, counts: Callable[[Rows], Rows]) -> Mask:
    if len(strata) == 0:
        return np.zeros(0, dtype=bool)
    positions, sizes = _positions(strata, keys)
    return positions < counts(sizes)[strata]


def _confirm_counts(sizes: Rows) -> Rows:
    share = min(_CONFIRM_SHARE, _CONFIRM_AT_MOST / sizes.sum())
    wanted = np.maximum(np.rint(share * sizes), _CONFIRM_PER_CLASS)
    bounded = np.minimum(wanted, np.floor(_CONFIRM_SHARE_AT_MOST * sizes))
    counts: Rows = np.maximum(bounded, np.minimum(1, sizes - 1)).astype(np.int64)
    return counts


def _tuning_counts(sizes: Rows) -> Rows:
    share = min(_TUNING_SHARE, _TUNING_AT_MOST / max(1, sizes.sum()))
    at_least = np.minimum(1, np.maximum(0, sizes - 1))  # a class's only sample is for training
    counts: Rows = np.maximum(np.rint(share * sizes), at_least).astype(np.int64)
    return counts


def _stratified(rows: Rows, strata: Rows, keys: Keys, n: int) -> Rows:
    """`n` of `rows` (all, if fewer), every stratum in proportion, in key order.

    Each element stands at (place + ½) ÷ size of its stratum; taking the lowest is proportional to within one.
    """
    if len(rows) == 0:
        return rows
    positions, sizes = _positions(strata[rows], keys[rows])
    quantiles = (positions + 0.5) / sizes[strata[rows]]
    chosen = np.lexsort((keys[rows], quantiles))[:n]
    return rows[chosen[np.argsort(keys[rows[chosen]], kind="stable")]]
