"""Shares of flows and their intervals, with the data set as the unit.

The starts of one data set are not independent: whether it has a spurious minimum at all decides for all of them. So the
share of a cell is the mean of the shares p_d of its D data sets, and its interval that of E. B. Wilson (J. Amer.
Statist. Assoc. 22, 1927) for D observations, however many starts there are. Since 0 <= p_d <= 1 the variance of the
mean is at most p (1 - p) / D: the interval is wide enough whatever the starts of a data set have in common.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lcnn_flow.landscape import wilson_interval

__all__ = ["Cells", "Estimate", "clustered", "paired_difference", "read", "wilson"]

_Z = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A share with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Cells:
    """Columns of results.csv: texts and numbers, one entry per data set and condition."""

    columns: dict[str, np.ndarray]
    starts: int

    def chosen(self, **wanted: object) -> "Cells":
        """The rows with these values, as in `chosen(architecture="2x2", condition=10)`."""
        keep = np.logical_and.reduce([self.columns[name] == value for name, value in wanted.items()])
        return Cells({name: column[keep] for name, column in self.columns.items()}, self.starts)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def with_roots(self, real: bool) -> "Cells":
        """The rows whose targets have real roots only, or a pair of complex ones too."""
        degree = np.asarray([sum(int(size) - 1 for size in name.split("x")) for name in self["architecture"]])
        keep = (self["real_roots"] == degree) == real
        return Cells({name: column[keep] for name, column in self.columns.items()}, self.starts)

    @property
    def complete(self) -> np.ndarray:
        """Whether the census of a data set is proved complete."""
        return self["census"] == "certified_complete"

    def shares(self, std: float) -> np.ndarray:
        """Per data set with a complete census the share of its decided flows that end in spurious minima."""
        decided = self.starts - self[f"undecided_{std:g}"]
        return (self[f"spurious_{std:g}"] / np.maximum(decided, 1))[self.complete & (decided > 0)]

    def all_or_none(self, std: float) -> tuple[int, int, int]:
        """Numbers of data sets with a spurious minimum: all of them, where no flow ends in it, where all flows do."""
        chosen = self.complete & (self["spurious_minima"] > 0)
        spurious, decided = self[f"spurious_{std:g}"][chosen], self.starts - self[f"undecided_{std:g}"][chosen]
        return int(chosen.sum()), int(np.sum(spurious == 0)), int(np.sum(spurious == decided))

    def by_data_set(self, std: float) -> np.ndarray:
        """The share of each data set, averaged over the conditions, which all data sets go through."""
        share = self[f"spurious_{std:g}"] / np.maximum(self.starts - self[f"undecided_{std:g}"], 1)
        numbers = self["data_set"]
        return np.asarray([share[numbers == number].mean() for number in np.unique(numbers)])

    def with_spurious(self) -> Estimate:
        """Share of data sets with a spurious minimum; the data sets are independent."""
        return wilson(float(np.mean(self["spurious_minima"][self.complete] > 0)), int(self.complete.sum()))


def read(path: Path, starts: int) -> Cells:
    """The results of the study."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    texts = ("architecture", "targets", "census")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return Cells({name: np.asarray(c) if name in texts else np.asarray(c, int) for name, c in columns.items()}, starts)


def wilson(share: float, size: int) -> Estimate:
    """Wilson's interval for `size` independent observations."""
    return Estimate(share, *wilson_interval(share * size, size))


def clustered(shares: np.ndarray) -> Estimate:
    """Mean of the shares (D,) of data sets, with an interval that holds for new data sets too."""
    return wilson(float(np.mean(shares)), len(shares))


def paired_difference(shares: np.ndarray, others: np.ndarray) -> Estimate:
    """Mean of `others - shares` over the same data sets, with the interval of Student's t in its normal limit."""
    gaps = others - shares
    mean, half = float(gaps.mean()), _Z * float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
    return Estimate(mean, mean - half, mean + half)
