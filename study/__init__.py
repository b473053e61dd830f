"""Runs studies: the catalogue, Ray Tune and Optuna around the trainables, and the records they leave.

The only package that imports ray, optuna and mlflow. Nothing is imported here, so that ``import study.spec`` is cheap.
"""
