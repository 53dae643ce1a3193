"""Kernels compiled from `csrc/`: one package a device, one module an op."""
