"""Coin flips: a network whose best prompted predictor is known in closed form, and one that was never trained."""
