"""Levenberg-Marquardt over a clip: the matrix is block-tridiagonal, one banded Cholesky solves a step."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, solveh_banded

from hand_geometry.assets import Array
from hand_geometry.fitting.chain import PARAMETERS, HandState
from hand_geometry.fitting.objective import Objective

_ROWS, _COLS = np.triu_indices(PARAMETERS)
_DIAGONAL = np.arange(PARAMETERS)
_TRIES = 6
_ENOUGH = 1e-3  # relative decrease that ends the search


def minimise(objective: Objective, state: HandState, max_iterations: int) -> tuple[HandState, int]:
    """Walk downhill from ``state``.

    Args:
        objective: What to minimise.
        state: Start.
        max_iterations: Steps at most.

    Returns:
        The best state and the number of steps taken.
    """
    damping, cost = 1e-3, objective.cost(state)
    for iteration in range(max_iterations):
        hessian, gradient = objective.normal_equations(state)
        tried = damping
        for _ in range(_TRIES):
            trial = state.moved(_step(hessian, gradient, objective.coupling, damping))
            trial_cost = objective.cost(trial)
            if trial_cost < cost:
                break
            damping *= 6
        else:
            return state, iteration
        if damping == tried:  # after a refusal a bolder step would only be refused again
            damping = max(damping * 0.3, 1e-6)
        decrease = (cost - trial_cost) / cost if np.isfinite(cost) else 1.0
        state, cost = trial, trial_cost
        if decrease < _ENOUGH:
            return state, iteration + 1
    return state, max_iterations


def _step(hessian: Array, gradient: Array, coupling: Array | None, damping: float) -> Array:
    """Solve the damped normal equations; shape (T, 51)."""
    frames = len(hessian)
    damped = hessian.copy()
    damped[:, _DIAGONAL, _DIAGONAL] *= 1 + damping
    damped[:, _DIAGONAL, _DIAGONAL] += 1e-6
    if coupling is None:
        return np.asarray(np.linalg.solve(damped, -gradient[..., None])[..., 0], np.float64)
    band = np.zeros((PARAMETERS + 1, frames, PARAMETERS))  # LAPACK's upper banded storage
    band[PARAMETERS - _COLS + _ROWS, :, _COLS] = damped[:, _ROWS, _COLS].T
    band[0, 1:] = -coupling
    try:
        step = solveh_banded(band.reshape(PARAMETERS + 1, -1), -gradient.ravel(), overwrite_ab=True, check_finite=False)
    except LinAlgError:  # not positive definite: rounding of a very stiff system; a more damped try follows
        return np.zeros_like(gradient)
    return step.reshape(frames, PARAMETERS)
