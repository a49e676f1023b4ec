"""Whether luck alone explains how many of some rows failed: the exact lower bound for a share (Clopper-Pearson).

Pure. A share that is measured on few rows is far from the true one: of 100 rows, 7 fail by luck where 4 in 100 do.
"""

from __future__ import annotations

from math import exp, lgamma, log, log1p


def above(share: float, failed: int, rows: int, doubt: float) -> bool:
    """Whether the true share of failures is above `share`, but for a chance of `doubt`.

    That is: where exactly that share fails, so many failures, or more, have a chance below `doubt`.
    """
    if failed <= rows * share:
        return False
    if share == 0:
        return True
    k, log_odds = failed, log(share) - log1p(-share)
    ways = lgamma(rows + 1) - lgamma(k + 1) - lgamma(rows - k + 1)
    term, chance = exp(ways + k * log_odds + rows * log1p(-share)), 0.0
    while chance + term < doubt:
        chance += term
        # beyond the mean each term is smaller than the one before
        if k == rows or term < chance * 1e-9:
            return True
        term *= (rows - k) / (k + 1) * exp(log_odds)
        k += 1
    return False
