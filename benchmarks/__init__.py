"""Speed comparisons; `python benchmarks/run.py` runs them."""
