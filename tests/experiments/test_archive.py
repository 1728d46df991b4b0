"""The archive of a batch is one that every reader of .npz opens, with the arrays that numpy would have stored."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from experiments.running import archive
from experiments.running.archive import npz

dtypes = st.one_of(
    arrays_of.floating_dtypes(endianness="?"), arrays_of.integer_dtypes(endianness="?"), st.just(np.dtype(bool))
)
arrays = arrays_of.arrays(dtypes, arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4))


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from(["0/risk", "12/final_w1", "wall_time", "é"]), arrays))
def test_arrays_are_read_as_those_that_numpy_stores(stored):
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **stored)
    content = npz(stored)
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    with np.load(io.BytesIO(content)) as ours, np.load(io.BytesIO(buffer.getvalue())) as theirs:
        assert list(ours) == list(theirs)
        for name, array in theirs.items():
            assert (ours[name].dtype, ours[name].shape) == (array.dtype, array.shape)
            assert ours[name].tobytes() == array.tobytes()
            assert ours[name].tobytes() == stored[name].tobytes()


def test_other_layouts_in_memory_are_stored_in_order():
    square = np.arange(12.0).reshape(3, 4)
    with np.load(io.BytesIO(npz({"t": square.T, "every": square[::2, ::3]}))) as stored:
        assert np.array_equal(stored["t"], square.T)
        assert np.array_equal(stored["every"], square[::2, ::3])


def test_objects_are_refused():
    with pytest.raises(ValueError, match="Python objects"):
        npz({"x": np.asarray([{}])})


def test_what_is_too_large_for_a_plain_archive_is_left_to_numpy(monkeypatch):
    stored = {"x": np.arange(100.0)}
    monkeypatch.setattr(archive, "_MOST_BYTES", 500)
    with np.load(io.BytesIO(npz(stored))) as found:
        assert np.array_equal(found["x"], stored["x"])
    assert npz(stored)[-2:] == b"\0\0"
