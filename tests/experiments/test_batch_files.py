"""A batch file is read back as it was written, or not at all."""

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.planning.batches import Batch
from experiments.running.batch_files import DamagedBatch, decode, encode, file_name

BATCH = Batch(number=12, cells=(3, 4), start=0, stop=5, key="ab" * 32)
ARRAYS = {
    "3/verdict": np.arange(5, dtype=np.int32),
    "3/risk": np.linspace(0, 1, 10).reshape(5, 2),
    "4/sound": np.asarray([True, False, True, True, False]),
    "4/true_filter": np.asarray([np.nan, np.inf, -0.0]),
    "wall_time": np.asarray(1.5),
}
CONTENT = encode(BATCH, ARRAYS)


def test_arrays_come_back_with_their_bits_and_types():
    found = decode(BATCH, CONTENT)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes()
        assert found[name].shape == array.shape


def test_the_same_arrays_make_the_same_bytes():
    assert encode(BATCH, ARRAYS) == CONTENT


def test_any_reader_of_npz_opens_the_file():
    with np.load(io.BytesIO(CONTENT)) as stored:
        assert np.array_equal(stored["3/risk"], ARRAYS["3/risk"])


@settings(deadline=None, max_examples=1500)
@given(st.data())
def test_no_changed_bit_and_no_truncation_goes_unnoticed(data):
    damaged = bytearray(CONTENT)
    match data.draw(st.sampled_from(["flip", "cut", "insert", "overwrite", "append", "foreign"])):
        case "flip":
            damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            start = data.draw(st.integers(0, len(damaged) - 1))
            del damaged[start : start + data.draw(st.integers(1, len(damaged)))]
        case "insert":
            place = data.draw(st.integers(0, len(damaged)))
            damaged[place:place] = data.draw(st.binary(min_size=1, max_size=64))
        case "overwrite":
            new = data.draw(st.binary(min_size=1, max_size=64))
            place = data.draw(st.integers(0, len(damaged) - len(new)))
            damaged[place : place + len(new)] = new
        case "append":
            damaged += data.draw(st.binary(min_size=1, max_size=64))
        case _:
            damaged = bytearray(data.draw(st.binary(max_size=200)))
    if bytes(damaged) == CONTENT:
        return
    with pytest.raises(DamagedBatch):
        decode(BATCH, bytes(damaged))


def test_the_file_of_another_batch_is_refused_in_spite_of_its_checksum():
    with pytest.raises(DamagedBatch, match="another batch"):
        decode(dataclasses.replace(BATCH, key="cd" * 32), CONTENT)


def test_pickled_objects_are_never_loaded():
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    buffer = io.BytesIO()
    np.savez(buffer, key=np.frombuffer(bytes.fromhex(BATCH.key), np.uint8), bomb=np.asarray(Bomb(), object))
    with np.load(io.BytesIO(buffer.getvalue())) as stored, pytest.raises(ValueError, match="allow_pickle"):
        stored["bomb"]
    import hashlib
    import struct

    body = buffer.getvalue()[:-2]
    content = body + struct.pack("<H", 71) + b"sha256:" + hashlib.sha256(body).hexdigest().encode()
    with pytest.raises(DamagedBatch, match="no archive of arrays"):
        decode(BATCH, content)


def test_the_name_of_a_file_says_which_batch_it_is():
    assert file_name(BATCH) == "000012-abababababababab.npz"
