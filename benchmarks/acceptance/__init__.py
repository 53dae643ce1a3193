"""Parts of `benchmarks/gpu_acceptance.py`, one file each; `python -m benchmarks.acceptance` runs one of them."""
