"""A plugin of pytest: scikit-learn's own tests see flatstep's networks in place of its own."""

from __future__ import annotations

import sklearn.neural_network

from flatstep.interop.sklearn import MLPClassifier, MLPRegressor

sklearn.neural_network.MLPClassifier = MLPClassifier
sklearn.neural_network.MLPRegressor = MLPRegressor
