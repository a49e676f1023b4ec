"""Issue exactly one coupon to each customer of a file, and be able to prove it."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
