"""The search for the fastest launch options of the Triton kernels."""
