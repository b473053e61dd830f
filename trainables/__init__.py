"""Training methods in plain torch: adapters, data, backbones and one module per method.

Nothing here imports ray, optuna, mlflow or ``study``: a trainable is a function
``train(config, seeds, report, checkpoints)`` that can be called from a script or a test.
"""
