"""The released code's operations and network, written anew: the baseline of benchmarks, and an oracle of tests."""
