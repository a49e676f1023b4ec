"""How fast and how flat, measured side by side: `make bench`. See docs/performance.md for what bounds each figure."""
