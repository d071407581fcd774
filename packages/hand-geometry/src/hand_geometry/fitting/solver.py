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


def likeliest(
    objective: Objective, states: list[HandState], smoothness: tuple[float, float, float] | None
) -> HandState:
    """Of each frame one of the states, so that costs and jumps of the wrist's rotation are least (Viterbi)."""
    costs = np.minimum([objective.frame_costs(state) for state in states], 1e12)  # (K, T)
    orient, angles, transl = (np.stack([getattr(s, n) for s in states]) for n in ("orient", "angles", "transl"))
    frames = costs.shape[1]
    total, came = costs[:, 0], np.zeros((frames, len(states)), np.int64)
    for t in range(1, frames):
        jumps = np.zeros((len(states), len(states)))
        if smoothness is not None:
            turn = np.einsum("kab,lcb->klac", orient[:, t - 1], orient[:, t])
            cosine = np.clip((np.trace(turn, axis1=2, axis2=3) - 1) / 2, -1, 1)
            jumps = (np.arccos(cosine) / smoothness[0]) ** 2
        came[t] = np.argmin(total[:, None] + jumps, axis=0)
        total = np.min(total[:, None] + jumps, axis=0) + costs[:, t]
    best = np.empty(frames, np.int64)
    best[-1] = np.argmin(total)
    for t in range(frames - 1, 0, -1):
        best[t - 1] = came[t, best[t]]
    rows = np.arange(frames)
    return HandState(orient[best, rows], angles[best, rows], transl[best, rows])


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
