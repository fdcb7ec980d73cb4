"""One time step of a membrane with conductances, exact enough whatever the time constants are.

Between spikes conductances are known exactly: (x + b t) exp(-k t), where b is 0 for exponential synapses. So
the membrane's equation is linear, dv/dt = J(t) - G(t) v, and its solution is

    v(h) = v(0) exp(-A(h)) + integral of J(s) exp(A(s) - A(h)) over s from 0 to h,

with A the integral of G, which has a closed form. The integral is taken with Gauss and Legendre's three points.
A step is divided until neither a conductance that still matters nor the membrane changes by more than a factor of
sqrt(e) in a part of it, which leaves less than 1e-6 of a postsynaptic potential. As conductances decay within the step,
this takes few parts even for time constants far below it. Steps in which everything is slow are taken at once, by
the classical Runge-Kutta method with the exact conductances.

Here time is in steps, conductances are multiplied by dt / C, and potentials are in volts.

Importing this module imports Brian2.
"""

from __future__ import annotations

import brian2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SLOW = 0.1
"""Rates (1/step) up to which a step is taken at once; the error is below SLOW**5 / 120."""

PART = 0.5
"""Rate times length of a part of a step, at most."""

NEGLIGIBLE = 1e-7
"""Part of the charge at the begin of a step that may be left out at its end."""

_NODES = (np.array([-1.0, 0.0, 1.0]) * np.sqrt(0.6) + 1) / 2
_WEIGHTS = np.array([5.0, 8.0, 5.0]) / 18

_CODE = f"""
cdef extern from "math.h":
    double _membrane_exp "exp"(double)
    double _membrane_expm1 "expm1"(double)

cdef inline double _membrane_charge(double x, double b, double k, double t):
    # integral of (x + b s) exp(-k s) over s from 0 to t
    cdef double z = k * t, first, second
    first = -_membrane_expm1(-z) / k
    if z < 1e-2:
        second = t * t * (1.0 / 2 + z * (-1.0 / 3 + z * (1.0 / 8 + z * (-1.0 / 30 + z / 144))))
    else:
        second = (k * first - z * _membrane_exp(-z)) / (k * k)
    return x * first + b * second

cdef double _membrane_step(double v, double xe, double be, double ke, double ee, double xi, double bi,
                           double ki, double ei, double leak, double drive):
    cdef double* nodes = [{", ".join(map(repr, _NODES.tolist()))}, 1.0]
    cdef double* weights = [{", ".join(map(repr, _WEIGHTS.tolist()))}]
    cdef double left = 1.0, h, t, rate, least_e, least_i, all_of_it, total, e, i
    cdef double g0, g1, g2, j0, j1, j2, k1, k2, k3, k4
    cdef double[4] a
    cdef double[3] j
    cdef int n
    rate = leak + xe + be + xi + bi
    if rate <= {SLOW} and ke <= {SLOW} and ki <= {SLOW}:
        e, i = _membrane_exp(-0.5 * ke), _membrane_exp(-0.5 * ki)
        g0, j0 = leak + xe + xi, drive + xe * ee + xi * ei
        xe, xi = (xe + 0.5 * be) * e, (xi + 0.5 * bi) * i
        g1, j1 = leak + xe + xi, drive + xe * ee + xi * ei
        xe, xi = (xe + 0.5 * be * e) * e, (xi + 0.5 * bi * i) * i
        g2, j2 = leak + xe + xi, drive + xe * ee + xi * ei
        k1 = j0 - g0 * v
        k2 = j1 - g1 * (v + 0.5 * k1)
        k3 = j1 - g1 * (v + 0.5 * k2)
        k4 = j2 - g2 * (v + k3)
        return v + (k1 + 2 * k2 + 2 * k3 + k4) / 6
    least_e, least_i = {NEGLIGIBLE} * (xe + be / ke), {NEGLIGIBLE} * (xi + bi / ki)
    while left > 0:
        if xe + be / ke <= least_e:
            xe = be = 0
        if xi + bi / ki <= least_i:
            xi = bi = 0
        rate = leak + xe + be + xi + bi
        if xe + be > 0 and ke > rate:
            rate = ke
        if xi + bi > 0 and ki > rate:
            rate = ki
        h = {PART} / rate if rate * left > {PART} else left
        for n in range(4):
            t = nodes[n] * h
            a[n] = leak * t
            e = i = 0
            if xe + be > 0:
                a[n] += _membrane_charge(xe, be, ke, t)
                e = (xe + be * t) * _membrane_exp(-ke * t)
            if xi + bi > 0:
                a[n] += _membrane_charge(xi, bi, ki, t)
                i = (xi + bi * t) * _membrane_exp(-ki * t)
            if n < 3:
                j[n] = drive + e * ee + i * ei
        total = 0
        for n in range(3):
            total += weights[n] * j[n] * _membrane_exp(a[n] - a[3])
        v = v * _membrane_exp(-a[3]) + h * total
        # e and i are the conductances at the end
        xe, be = e, be * _membrane_exp(-ke * h)
        xi, bi = i, bi * _membrane_exp(-ki * h)
        left = left - h if h < left else 0
    return v
"""


def _charge(x: FloatArray, b: FloatArray, k: FloatArray, t: FloatArray) -> FloatArray:
    """Integral of (x + b s) exp(-k s) over s from 0 to t."""
    z = k * t
    first = -np.expm1(-z) / k
    series = t * t * (1 / 2 + z * (-1 / 3 + z * (1 / 8 + z * (-1 / 30 + z / 144))))
    second = np.where(z < 1e-2, series, (k * first - z * np.exp(-z)) / (k * k))
    return x * first + b * second


def membrane_step(*arguments: FloatArray) -> FloatArray:
    """The membrane potential (V) after a step, shape ``(n,)``.

    Arguments are the potential before; conductance x and its slope b (b is 0 for exponential synapses), decay
    rate k and reversal potential of excitatory and of inhibitory synapses; leak and drive. Conductances and
    ``leak`` are multiplied by dt / C, rates are per step, ``drive`` is in volts per step.
    """
    v, xe, be, ke, ee, xi, bi, ki, ei, leak, drive = (
        np.array(a, dtype=np.float64) for a in np.broadcast_arrays(*arguments)
    )
    least_e, least_i = NEGLIGIBLE * (xe + be / ke), NEGLIGIBLE * (xi + bi / ki)
    left = np.ones_like(v)
    while left.any():
        for x, b, k, least in ((xe, be, ke, least_e), (xi, bi, ki, least_i)):
            gone = x + b / k <= least
            x[gone], b[gone] = 0.0, 0.0
        rate = leak + xe + be + xi + bi
        rate = np.maximum(rate, np.where(xe + be > 0, ke, 0.0))
        rate = np.maximum(rate, np.where(xi + bi > 0, ki, 0.0))
        h = np.where(rate * left > PART, PART / np.where(rate > 0, rate, 1.0), left)
        a = leak * h + _charge(xe, be, ke, h) + _charge(xi, bi, ki, h)
        total = np.zeros_like(v)
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            t = node * h
            at = leak * t + _charge(xe, be, ke, t) + _charge(xi, bi, ki, t)
            j = drive + ee * (xe + be * t) * np.exp(-ke * t) + ei * (xi + bi * t) * np.exp(-ki * t)
            total += weight * j * np.exp(at - a)
        v = v * np.exp(-a) + h * total
        for x, b, k in ((xe, be, ke), (xi, bi, ki)):
            x[:] = (x + b * h) * np.exp(-k * h)
            b[:] = b * np.exp(-k * h)
        left = np.where(h < left, left - h, 0.0)
    return v


function = brian2.Function(
    membrane_step, arg_units=[1] * 11, return_unit=1, return_type="float", stateless=True
)
"""`membrane_step` as Brian2 calls it."""
function.implementations.add_implementation("cython", code=_CODE, name="_membrane_step")
