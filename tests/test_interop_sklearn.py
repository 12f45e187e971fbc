"""scikit-learn's networks with flatstep's steps: scikit-learn's own tests, and ours."""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flatstep as fs

sklearn = pytest.importorskip("sklearn")

from sklearn import neural_network  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402

from flatstep.interop.sklearn import MLPClassifier, MLPRegressor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 4))
LABELS = (X[:, 0] * X[:, 1] > 0).astype(int)
CONFIGURATION = fs.MultiLayerConfiguration(
    updater=fs.Nesterovs(0.1),
    gradient_normalization="ClipL2PerLayer",
    gradient_normalization_threshold=0.1,
)
SMALL: dict[str, Any] = {
    "hidden_layer_sizes": (7, 5), "max_iter": 15, "batch_size": 30, "random_state": 0,
}  # fmt: skip


def test_scikit_learns_own_tests_pass(tmp_path: Path) -> None:
    """All of its test_mlp.py, where its two classes are flatstep's."""
    pytest.importorskip("sklearn.neural_network.tests.test_mlp")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-rs", "-p", "sklearn_with_flatstep"),
            *("-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={tmp_path}"),
            *("--pyargs", "sklearn.neural_network.tests.test_mlp"),
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent),
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    found = re.search(r"^(\d+) passed(?:, (\d+) skipped)?[^,]* in ", done.stdout, re.M)
    assert found, done.stdout
    assert int(found[1]) >= 50
    # What is skipped is skipped for scikit-learn's own classes, too.
    reasons = re.findall(r"^SKIPPED \[\d+\] \S+ (.*)$", done.stdout, re.M)
    assert all("pandas" in reason for reason in reasons), reasons


def test_the_plugin_puts_them_in_place() -> None:
    """Else scikit-learn's tests would have shown nothing."""
    code = (
        "import sklearn_with_flatstep, sklearn.neural_network as n; "
        "print(n.MLPClassifier.__module__, n.MLPRegressor.__module__)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    assert printed.split() == ["flatstep.interop.sklearn"] * 2


@pytest.mark.parametrize(
    "solver",
    [
        {"solver": "adam", "beta_1": 0.8},
        {"solver": "sgd", "learning_rate_init": 0.1},
        {"solver": "sgd", "learning_rate_init": 0.1, "nesterovs_momentum": False},
        {"solver": "sgd", "learning_rate_init": 0.1, "learning_rate": "invscaling"},
        {
            "solver": "sgd",
            "learning_rate_init": 0.1,
            "learning_rate": "adaptive",
            "nesterovs_momentum": False,
            "tol": 10.0,
            "n_iter_no_change": 3,
        },
    ],
    ids=["adam", "nesterov", "momentum", "invscaling", "adaptive"],
)
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_without_a_configuration_the_weights_are_scikit_learns(
    kind: str, solver: dict[str, Any]
) -> None:
    theirs = getattr(neural_network, kind)(**SMALL, **solver).fit(X, LABELS)
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[kind](**SMALL, **solver)
    ours.fit(X, LABELS)
    assert ours.n_iter_ == theirs.n_iter_
    for a, b in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    if solver["solver"] == "sgd":  # Adam's there has the bias correction in it
        assert ours._optimizer.learning_rate == pytest.approx(theirs._optimizer.learning_rate)


def test_configuration_trains_its_own_arrays() -> None:
    network = MLPClassifier(configuration=CONFIGURATION, **SMALL).fit(X, LABELS)
    updater = network._optimizer.updater
    assert (updater.configuration, updater.iteration, updater.epoch) == (CONFIGURATION, 45, 15)
    assert updater.parameters["1_W"] is network.coefs_[1]
    assert updater.parameters["2_b"] is network.intercepts_[2]
    assert network.score(X, LABELS) > 0.6


def test_float32() -> None:
    network = MLPRegressor(configuration=CONFIGURATION, **SMALL)
    network.fit(X.astype(np.float32), LABELS.astype(np.float32))
    assert network._optimizer.updater.dtype == np.float32


def test_clone_grid_search_and_set_params() -> None:
    network = MLPClassifier(configuration=CONFIGURATION, **SMALL)
    assert clone(network).configuration == CONFIGURATION
    assert set(network.get_params()) == {*neural_network.MLPClassifier().get_params()} | {
        "configuration"
    }
    free = fs.MultiLayerConfiguration(updater=fs.Adam(0.01))
    search = GridSearchCV(network, {"configuration": [CONFIGURATION, free]}, cv=2).fit(X, LABELS)
    assert search.best_params_["configuration"] in (CONFIGURATION, free)
    network.set_params(configuration=None).fit(X, LABELS)
    assert network._optimizer.updater.configuration.updater == fs.Adam(1e-3)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_a_copy_goes_on_alike(copied: Any) -> None:
    """Its arrays are others than the updater's, until it steps."""
    network = MLPClassifier(configuration=CONFIGURATION, **SMALL)
    network.partial_fit(X, LABELS, classes=[0, 1])
    twin = copied(network)
    for each in (network, twin):
        each.partial_fit(X, LABELS)
    assert twin._optimizer.updater == network._optimizer.updater
    assert twin._optimizer.updater.parameters["0_W"] is twin.coefs_[0]
    for a, b in zip(twin.coefs_, network.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)


def test_early_stopping_leaves_the_best_arrays_and_goes_on_with_them() -> None:
    network = MLPClassifier(configuration=CONFIGURATION, early_stopping=True, **SMALL)
    network.fit(X, LABELS)
    network.set_params(early_stopping=False)
    network.best_loss_ = np.inf  # which scikit-learn itself misses here
    network.partial_fit(X, LABELS)
    assert network._optimizer.updater.parameters["0_W"] is network.coefs_[0]


def test_errors() -> None:
    with pytest.raises(TypeError, match="configuration: expected a MultiLayerConfiguration, or"):
        MLPClassifier(configuration=fs.Adam(), **SMALL).fit(X, LABELS)
    network = MLPClassifier(
        configuration=CONFIGURATION, solver="sgd", learning_rate="adaptive", **SMALL
    )
    with pytest.raises(ValueError, match='learning_rate: expected "constant" beside a config'):
        network.fit(X, LABELS)
    with pytest.raises(AttributeError, match="before the first fit"):
        MLPClassifier()._optimizer  # noqa: B018
    huge = MLPRegressor(configuration=CONFIGURATION, **SMALL)
    with np.errstate(all="ignore"), pytest.raises(fs.NonFiniteGradientError):
        huge.fit(X * 1e200, LABELS * 1e200)


def test_scikit_learn_missing() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import flatstep.interop.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        "flatstep.interop.sklearn needs scikit-learn, which is not installed: "
        "pip install scikit-learn"
    )
