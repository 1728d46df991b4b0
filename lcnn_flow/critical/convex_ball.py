"""Balls around a critical point on which F' is regular, in ball arithmetic: for any risk, by no property of it.

Let F'(w) be regular for all w of a convex set, and so for all averages of such matrices, as enclosures are convex. Then
F(x) - F(y) = A (x - y), A the average of F' on the segment, is not 0 for x != y: the set holds at most one zero of F.

If F' is positive definite on a Euclidean ball around a zero x, then Phi is strongly convex there, and on the leaf,
where grad L = grad Phi = F up to multiples of h - c = 0, d|w - x|^2/dt = -2 <F(w), w - x> < 0 along the flow: a
trajectory on the leaf that enters the ball stays and converges to x. Derived.
"""

import numpy as np
from flint import arb

from lcnn_flow.critical.balls import signature
from lcnn_flow.critical.leaf_system import LeafSystem

__all__ = ["ConvexBall"]


class ConvexBall:
    """The test above, on balls around a zero of F.

    Args:
        system: F.
        box: holds the zero.
        axes: floats whose columns make F' about diagonal.
    """

    def __init__(self, system: LeafSystem, box: list[arb], axes: np.ndarray) -> None:
        self._system, self._box, self._axes = system, box, axes

    def holds(self, radius: float) -> bool:
        """Whether F' is shown to be regular on the ball of `radius`, in the smallest of the units.

        Its signature is then that at the zero.
        """
        box = self._system.surrounding(self._box, radius)
        return signature(self._system.derivative(box), self._axes) is not None
