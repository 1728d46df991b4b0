"""Rodas4: L-stable, stiffly accurate Rosenbrock method of order 4 with 6 stages, embedded order 3."""

from typing import ClassVar

import numpy as np
from jaxtyping import PyTree

from lcnn_flow.solvers.rosenbrock import AbstractRosenbrock, RosenbrockTableau, lower_triangle

__all__ = ["Rodas4"]


_LAST = (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950)


class Rodas4(AbstractRosenbrock):
    """Rodas4 with dense output of order 3.

    References:
        Hairer and Wanner, Solving Ordinary Differential Equations II, 2nd edition, section VI.4, and their code
        RODAS (coefficients, method 1).
    """

    tableau: ClassVar[RosenbrockTableau] = RosenbrockTableau(
        gamma=0.25,
        a=lower_triangle(
            (1.544,),
            (0.9466785280815826, 0.2557011698983284),
            (3.314825187068521, 2.896124015972201, 0.9986419139977817),
            _LAST,
            (*_LAST, 1.0),
        ),
        c=lower_triangle(
            (-5.6688,),
            (-2.430093356833875, -0.2063599157091915),
            (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
            (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160),
            (
                8.083246795921522,
                -7.981132988064893,
                -31.52159432874371,
                16.31930543123136,
                -6.058818238834054,
            ),
        ),
        b=np.array([*_LAST, 1.0, 1.0]),
        e=np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0]),
        alpha=np.array([0.0, 0.386, 0.21, 0.63, 1.0, 1.0]),
        gamma_sum=np.array([0.25, -0.1043, 0.1035, -0.03620000000000023, 0.0, 0.0]),
        dense=np.array(
            [
                [
                    10.12623508344586,
                    -7.487995877610167,
                    -34.80091861555747,
                    -7.992771707568823,
                    1.025137723295662,
                    0.0,
                ],
                [
                    -0.6762803392801253,
                    6.087714651680015,
                    16.43084320892478,
                    24.76722511418386,
                    -6.594389125716872,
                    0.0,
                ],
            ]
        ),
    )

    def order(self, terms: PyTree) -> int:
        """Order of the global error."""
        del terms
        return 4

    def error_order(self, terms: PyTree) -> int:
        """Order of the local error estimate."""
        del terms
        return 4
