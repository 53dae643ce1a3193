"""C++ kernels for CPUs, one file an op.

`<op>.py` here holds the functions of `dasr_fast.reference.<op>` under the same names, and `unsupported`.
"""
