"""Training: images, patches, degradation, representation learning, steps, and runs that go on where they stopped.

`trainer.Trainer` is a run. Nothing is imported here, so that the command line starts quickly.
"""
