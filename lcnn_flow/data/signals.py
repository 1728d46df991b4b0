"""Real signals that are part of PyWavelets, so that nothing is downloaded.

PyWavelets is distributed under the MIT licence. Its statements about each signal are repeated in the docstrings; where
nothing is repeated it names neither source nor licence.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lcnn_flow.errors import DataError

__all__ = ["climate", "ecg", "photograph"]

_PHOTOGRAPHS = ("camera", "ascent", "aero")


def ecg() -> Float[Array, "1024"]:
    """Electrocardiogram of 1024 samples, normalised to mean 0 and standard deviation 1.

    `pywt.data.ecg`, "1024 points of an ECG timeseries"; PyWavelets names no source.

    Returns:
        (1024,) samples.
    """
    import pywt.data

    return _normalised(pywt.data.ecg())


def climate() -> Float[Array, "264"]:
    """Sea surface temperature of the El Nino region, 264 values, normalised to mean 0 and standard deviation 1.

    `pywt.data.nino`: averaged sea surface temperature in degrees Celsius of the Pacific Ocean, between 0-10 degrees
    South and 90-80 degrees West, from 1950 to 2016. Public domain, obtained from NOAA (National Weather Service,
    ERSSTv4, nino 3, http://www.cpc.ncep.noaa.gov/data/indices/), as PyWavelets states.

    Returns:
        (264,) samples.
    """
    import pywt.data

    return _normalised(pywt.data.nino()[1])


def photograph(name: str = "camera") -> Float[Array, "512 512"]:
    """Grey photograph of 512 x 512 pixels, normalised to mean 0 and standard deviation 1.

    Args:
        name: "camera" (`pywt.data.camera`: no copyright restrictions, CC0 by the photographer Lav Varshney),
            "ascent" (`pywt.data.ascent`: derived from accent-to-the-top.jpg at
            http://www.public-domain-image.com/people-public-domain-images-pictures/), or
            "aero" (`pywt.data.aero`: PyWavelets names no source).

    Returns:
        (512, 512) grey values.

    Raises:
        DataError: another name.
    """
    if name not in _PHOTOGRAPHS:
        raise DataError(f"photograph: no {name!r}: write one of {', '.join(map(repr, _PHOTOGRAPHS))}")
    import pywt.data

    return _normalised(getattr(pywt.data, name)())


def _normalised(values: np.ndarray) -> Float[Array, "..."]:
    x = np.asarray(values, dtype=np.float64)
    return jnp.asarray((x - x.mean()) / x.std())
