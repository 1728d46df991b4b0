"""Files: what is read, and that everything else is refused by name and place, without unpickling."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lcnn_flow import data
from lcnn_flow.errors import DataError

X = np.arange(12.0).reshape(4, 3) / 7
Y = np.array([[1.0], [-2.0], [0.5], [1e-300]])


class Bomb:
    """Fails the test if it is ever unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_npz_round_trip(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=X, targets=Y, weights=[1, 2, 3, 4], true_filter=[1.0, 2.0])
    samples = data.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(samples.inputs, X)
    np.testing.assert_array_equal(samples.targets, Y)
    np.testing.assert_array_equal(samples.weights, [1, 2, 3, 4])
    np.testing.assert_array_equal(samples.true_filter, [1, 2])
    np.savez_compressed(tmp_path / "b.NPZ.npz", X=X.astype(">f4"), Y=np.asfortranarray(Y))
    samples = data.load(str(tmp_path / "b.NPZ.npz"), inputs="X", targets="Y")
    np.testing.assert_array_equal(samples.inputs, X.astype("f4"))
    assert samples.weights is None


def test_npz_holds_images(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=np.ones((2, 5, 4)), targets=np.ones((2, 3, 2)))
    assert data.load(tmp_path / "a.npz").inputs.shape == (2, 5, 4)


def test_npy_is_split_into_columns(tmp_path):
    np.save(tmp_path / "a.npy", np.hstack([X, Y]))
    samples = data.load(tmp_path / "a.npy", split=3)
    np.testing.assert_array_equal(samples.inputs, X)
    np.testing.assert_array_equal(samples.targets, Y)


def test_csv_with_header_sorts_columns_by_name(tmp_path):
    text = "y0, x1,weight,x0\n1,2,3,4\n\n5,-6e-1,7,+8\r\n"
    (tmp_path / "a.csv").write_text(text, encoding="utf-8-sig")
    samples = data.load(tmp_path / "a.csv")
    np.testing.assert_array_equal(samples.inputs, [[4, 2], [8, -0.6]])
    np.testing.assert_array_equal(samples.targets, [[1], [5]])
    np.testing.assert_array_equal(samples.weights, [3, 7])


@pytest.mark.parametrize("header", ["", "time,b,c\n", '"a","b","c"\n'])
def test_csv_with_split_takes_any_header(tmp_path, header):
    (tmp_path / "a.csv").write_text(header + '1,2,3\n4,"5",6\n')
    samples = data.load(tmp_path / "a.csv", split=2)
    np.testing.assert_array_equal(samples.inputs, [[1, 2], [4, 5]])
    np.testing.assert_array_equal(samples.targets, [[3], [6]])


def test_csv_reads_every_float_exactly(tmp_path):
    values = np.random.default_rng(0).standard_normal((20, 3)) * 10.0 ** np.arange(-150, 150, 100)
    (tmp_path / "a.csv").write_text("\n".join(",".join(map(repr, row.tolist())) for row in values))
    samples = data.load(tmp_path / "a.csv", split=2)
    np.testing.assert_array_equal(np.hstack([samples.inputs, samples.targets]), values)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("x0,y0\n1,2\n3,abc\n", {}, "line 3, column 2: 'abc' is not a finite number"),
        ("x0,y0\n1,2\n3,\n", {}, "line 3, column 2: ''"),
        ("x0,y0\n1,nan\n", {}, "line 2, column 2: 'nan'"),
        ("1,1e999\n", {"split": 1}, "column 2: '1e999'"),
        ("1,1_0\n", {"split": 1}, "'1_0'"),
        ("x0,y0\n1,2\n3\n", {}, "line 3 has 1 cells, the first one 2"),
        ("1,2\n", {}, "no header"),
        ("x0,y0\n", {}, "no row of numbers"),
        ("\n\n", {}, "no row of numbers"),
        ("x0,z0\n1,2\n", {}, "column 'z0'"),
        ("x0,x2,y0\n1,2,3\n", {}, "'x1' is missing"),
        ("x0,x999999999,y0\n1,2,3\n", {}, "'x1' is missing"),
        ("x0,x1\n1,2\n", {}, "'y0' is missing"),
        ("x0,x0,y0\n1,2,3\n", {}, "'x0' occurs twice"),
        ("x0,y0,weight\n1,2,-1\n", {}, r"weights\[0\] is -1.0"),
        ("1,2\n", {"split": 2}, "leaves no target among 2 columns: use 1 to 1"),
        ("1,2\n", {"split": 0}, "at least 1"),
        ("1,2\n", {"split": "a"}, "plain integer"),
        ("1;2\n3;4\n", {"split": 1}, "'3;4' is not a finite number"),
        ("1,2\n", {"inputs": "X"}, "write split=d_0"),
        ("1,\0\n", {"split": 1}, r"finite number|damaged"),
        ('1,"' + "9" * 200000 + '"\n', {"split": 1}, "damaged"),
    ],
)
def test_faulty_csv_is_refused_by_line_and_column(tmp_path, text, options, message):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    with pytest.raises(DataError, match=message) as caught:
        data.load(path, **options)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_csv_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe1\x00,\x002\x00")
    with pytest.raises(DataError, match=r"damaged, or not a \.csv file"):
        data.load(tmp_path / "a.csv", split=1)


@pytest.mark.usefixtures("unchecked")
def test_missing_files_directories_and_suffixes(tmp_path):
    with pytest.raises(DataError, match="no such file in"):
        data.load(tmp_path / "missing.npz")
    with pytest.raises(DataError, match="is a directory"):
        data.load(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"unknown suffix '\.pkl': use one of \.npz, \.npy, \.csv"):
        data.load(tmp_path / "a.pkl")
    with pytest.raises(DataError, match="not a regular file"):
        data.load("/dev/zero")
    with pytest.raises(DataError, match="string or a Path"):
        data.load(3)
    with pytest.raises(DataError):
        data.load("a\0.npz")
    with pytest.raises(DataError):
        data.load("a" * 5000 + ".npz")


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv"])
def test_empty_and_foreign_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    options = {} if suffix == ".npz" else {"split": 1}
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        data.load(path, **options)
    for content in (b"\x89PNG\r\n\x1a\n" + bytes(100), pickle.dumps(Bomb()), b"PK\x03\x04" + bytes(40)):
        path.write_bytes(content)
        with pytest.raises(DataError):
            data.load(path, **options)


def test_files_above_the_limit_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "a.npy"
    with path.open("wb") as stream:
        stream.truncate(5 * 2**30)  # sparse: takes no space
    with pytest.raises(DataError, match="at most 4294967296 are read"):
        data.load(path, split=1)


def test_object_arrays_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=np.array([[Bomb()]], dtype=object), targets=Y[:1])
    with pytest.raises(DataError, match="inputs holds pickled Python objects"):
        data.load(tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", np.array([[Bomb(), Bomb()]], dtype=object))
    with pytest.raises(DataError, match="pickled Python objects"):
        data.load(tmp_path / "a.npy", split=1)


def test_text_complex_and_structured_arrays_are_refused(tmp_path):
    for values in (np.array([["a", "b"]]), np.ones((1, 2), complex), np.ones((2, 2), [("a", "f8")])):
        np.save(tmp_path / "a.npy", values)
        with pytest.raises(DataError, match="real numbers"):
            data.load(tmp_path / "a.npy", split=1)


def test_faulty_npz_is_refused_by_name(tmp_path):
    path = tmp_path / "a.npz"

    def refused(message, **arrays):
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=message):
            data.load(path)

    refused("no array 'targets'; arrays are: 'inputs'", inputs=X)
    refused("unknown array 'weigths'", inputs=X, targets=Y, weigths=Y[:, 0])
    refused("4 inputs but 3 targets", inputs=X, targets=Y[:3])
    refused(r"inputs\[None\]", inputs=X[0], targets=Y)
    refused(r"targets\[0, 0\] is nan, the first of 4", inputs=X, targets=np.nan * Y)
    with pytest.raises(DataError, match="names its arrays"):
        data.load(path, split=3)
    np.save(tmp_path / "a.npy", np.ones((2, 2, 2)))
    with pytest.raises(DataError, match=r"\(2, 2, 2\).*\.npz"):
        data.load(tmp_path / "a.npy", split=1)
    np.save(tmp_path / "a.npy", np.ones((2, 2)))
    with pytest.raises(DataError, match="2 columns: give split"):
        data.load(tmp_path / "a.npy")


def _npy_with_shape(shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(16)


def test_arrays_that_declare_more_than_is_there_are_refused_before_memory_is_taken(tmp_path):
    (tmp_path / "a.npy").write_bytes(_npy_with_shape((10**9, 10**9)))
    with pytest.raises(DataError, match="truncated or damaged"):
        data.load(tmp_path / "a.npy", split=1)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("inputs.npy", _npy_with_shape((10**9, 10**9)))
        archive.writestr("targets.npy", _npy_with_shape((10**9, 10**9)))
    with pytest.raises(DataError, match="inputs is truncated or damaged"):
        data.load(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(where=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_never_raise_anything_but_data_errors(tmp_path, suffix, where, byte, cut):
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, inputs=X, targets=Y)
    else:
        np.save(path, np.hstack([X, Y]))
    content = bytearray(path.read_bytes())
    place = min(int(where * len(content)), len(content) - 1)
    content[place] = byte
    path.write_bytes(content[:place] if cut else content)
    try:
        samples = data.load(path, **({} if suffix == ".npz" else {"split": 3}))
    except DataError:
        return
    assert not cut
    assert np.all(np.isfinite(samples.inputs))
