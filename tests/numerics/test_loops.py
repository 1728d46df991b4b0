"""Loops that vmap batches at once."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lcnn_flow.numerics.loops import while_loop

STARTS = jnp.asarray([0.5, 2.0, np.nan, np.inf])


def halvings(loop, start, body=lambda x: x / 2):
    """The number of halvings until a number is at most 1e-3, and the sum of the halves; the count starts unbatched."""

    def one(state):
        count, x, total = state
        return count + 1, body(x), total + x

    return loop(lambda s: (s[1] > 1e-3) & (s[0] < 30), one, (jnp.asarray(0), start, jnp.zeros(())))


def marked(condition, body, begin):
    return while_loop(condition, body, begin, begin[1][None])


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, jax.vmap], ids=["eager", "jit", "vmap"])
def test_a_loop_is_that_of_lax_for_finite_and_other_starts(transform):
    given = [STARTS] if transform is jax.vmap else list(STARTS)
    for start in given:
        ours, theirs = (transform(lambda x, loop=loop: halvings(loop, x))(start) for loop in (marked, lax.while_loop))
        chex.assert_trees_all_equal(ours, theirs)


def test_the_body_is_batched_by_fewer_traces_than_that_of_lax():
    def traces(loop):
        count = 0

        @jax.custom_batching.custom_vmap
        def half(x):
            return x / 2

        @half.def_vmap
        def _(size, batched, x):
            nonlocal count
            count += 1
            return x / 2, batched[0]

        jax.jit(jax.vmap(lambda x: halvings(loop, x, half))).trace(STARTS)
        return count

    assert traces(marked) < traces(lax.while_loop)
