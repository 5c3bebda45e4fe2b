"""The estimator: parameters, fitting, predicting, and what goes with them."""
