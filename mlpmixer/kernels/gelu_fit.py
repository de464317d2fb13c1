"""The coefficients in `native/gelu.h`, found anew: `python -m mlpmixer.kernels.gelu_fit`.

GELU and its derivative are 1/2 plus an odd function, once the GELU is divided by x:

    gelu(x)  = x · (1/2 + x·Q(x²))
    gelu'(x) = 1/2 + x·D(x²)

Q and D are fitted by polynomials in t = 2x²/c² - 1 on |x| <= c, so that the largest error of the
result is least and the value at c is exact. Finding such a polynomial is a linear program.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.special import erf

Values = npt.NDArray[np.float64]
POINTS = 4000


def cumulative_erf(x: Values) -> Values:
    """Return gelu(x)/x in the exact form."""
    return (1 + erf(x / np.sqrt(2))) / 2


def derivative_erf(x: Values) -> Values:
    """Return the derivative of the exact form."""
    return cumulative_erf(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def cumulative_tanh(x: Values) -> Values:
    """Return gelu(x)/x in the form with tanh."""
    return (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def derivative_tanh(x: Values) -> Values:
    """Return the derivative of the form with tanh."""
    inner = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    share = cumulative_tanh(x)
    return share + 2 * x * share * (1 - share) * inner


def fit(
    function: Callable[[Values], Values], end: float, count: int, power: int
) -> tuple[Values, float]:
    """Return the coefficients of the best polynomial, lowest first, and its largest error.

    Args:
        function: 1/2 plus an odd function of x.
        end: c, up to where it is fitted.
        count: of coefficients.
        power: the error of x·P(x²) is multiplied by this power of x.
    """
    # Chebyshev points, and the basis of Chebyshev polynomials, keep the program well conditioned.
    angles = np.pi * (np.arange(POINTS) + 0.5) / POINTS
    x = end * np.sqrt((1 + np.cos(angles)) / 2)
    t = 2 * (x / end) ** 2 - 1
    basis = np.polynomial.chebyshev.chebvander(t, count - 1)
    wanted = function(x) - 0.5
    weighted, target = basis * x[:, None] ** (power + 1), wanted * x**power
    ones = np.ones((POINTS, 1))
    found = linprog(
        np.r_[np.zeros(count), 1],
        A_ub=np.block([[weighted, -ones], [-weighted, -ones]]),
        b_ub=np.r_[target, -target],
        A_eq=np.r_[np.ones(count) * end, 0][None],  # every Chebyshev polynomial is 1 at t = 1
        b_eq=[0.5],
        bounds=[(None, None)] * count + [(0, None)],
        method="highs",
    )
    if not found.success:
        raise RuntimeError(f"no fit for {function.__name__}: {found.message}")
    return np.polynomial.chebyshev.cheb2poly(found.x[:-1]), float(found.x[-1])


def main() -> None:
    """Print all coefficients with their errors, in double precision."""
    for function, end, count, power in (
        (cumulative_erf, 5.2, 13, 1),
        (cumulative_tanh, 5.0, 13, 1),
        (cumulative_erf, 4.2, 8, 1),
        (cumulative_tanh, 4.0, 8, 1),
        (derivative_erf, 5.4, 14, 0),
        (derivative_tanh, 5.2, 14, 0),
        (derivative_erf, 4.2, 8, 0),
        (derivative_tanh, 4.0, 8, 0),
    ):
        coefficients, error = fit(function, end, count, power)
        print(f"{function.__name__}, |x| <= {end}, error {error:.2g}:")
        print("    " + ", ".join(f"{value:.17g}f" for value in coefficients))


if __name__ == "__main__":
    main()
