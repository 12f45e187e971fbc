"""Rules of DL4J that no golden case shows: pretraining only, and the policy "Score"."""

from __future__ import annotations

from typing import Any

import numpy as np

import flatstep as fs


def test_the_blocks_of_a_variational_autoencoder() -> None:
    """As DL4J's TestUpdaters has them: what learns by backpropagation, then what does not."""
    backprop = ["e0W", "e0b", "e1W", "e1b", "pZXMeanW", "pZXMeanb"]
    pretraining = ["pZXLogStd2W", "pZXLogStd2b", "d0W", "d0b", "d1W", "d1b", "pXZW", "pXZb"]
    params = {f"0_{name}": np.ones(3) for name in (*backprop, *pretraining)} | {"1_W": np.ones(3)}
    only = fs.ParamConfiguration(pretrain_only=True)
    for pretrain in (False, True):
        layer = fs.LayerConfiguration(pretrain=pretrain, params=dict.fromkeys(pretraining, only))
        config = fs.MultiLayerConfiguration(
            updater=fs.RmsProp(), bias_params=(), layers={"0": layer}
        )
        updater = fs.MultiLayerUpdater(config, params)
        keys = [[key.partition("_")[2] for key in block.keys] for block in updater.updater_blocks]
        assert keys == [backprop, pretraining, ["W"]]
        gradients = {key: np.full(3, 0.25) for key in params}
        updater.update(gradients)
        untouched = {key for key, g in gradients.items() if (g == 0.25).all()}
        assert untouched == (set() if pretrain else {f"0_{name}" for name in pretraining})
        learnt = {key for key in params if (updater.state(key)["s"] > 1e-3).all()}
        assert learnt == set(params) - untouched


def test_what_learns_in_pretraining_shares_no_block_with_another_layer() -> None:
    only = fs.LayerConfiguration(params={"W": fs.ParamConfiguration(pretrain_only=True)})
    config = fs.MultiLayerConfiguration(updater=fs.Adam(), layers={"0": only, "1": only})
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3), "1_W": np.ones(3)})
    assert [block.keys for block in updater.updater_blocks] == [("0_W",), ("1_W",)]


def test_a_visible_bias_may_learn_like_any_other() -> None:
    layer = fs.LayerConfiguration(params={"vb": fs.ParamConfiguration(pretrain_only=False)})
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5), layers={"0": layer})
    updater = fs.MultiLayerUpdater(config, {"0_vb": np.ones(2)})
    gradients = {"0_vb": np.ones(2)}
    updater.update(gradients)
    np.testing.assert_array_equal(gradients["0_vb"], 0.5)


# ---------------------------------------------------------------------------------- policy "Score"


def score_run(scores: list[float], **settings: Any) -> list[float]:
    """The rates that a solver's steps with these scores leave; the last step's is the last."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(1.0),
        semantics="dl4j-0.8",
        learning_rate_policy=fs.LearningRatePolicy("Score", decay_rate=0.5),
        **settings,
    )
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2), "1_W": np.ones(2)})
    given = iter(scores)
    gradients = {"0_W": np.ones(2), "1_W": np.ones(2)}
    solver = fs.StochasticGradientDescent(updater, lambda: (next(given), gradients))
    rates = []
    for _ in scores:
        solver.optimize()
        rates.append(updater.learning_rate("0_W"))
    return rates


def test_the_score_policy_is_the_eps_termination_of_0_8() -> None:
    """2|old − new| <= 1e-5f·(|old| + |new| + 1e-4): then the rate is multiplied by 0.5 + 1e-5f."""
    factor = 0.5 + float(np.float32(1e-5))
    assert score_run([4.0, 3.0, 3.0, 3.0, 2.0]) == [1.0, 1.0, factor, factor**2, factor**2]
    tolerance = float(np.float32(1e-5))
    for old, new in ((1.0, 1.0 + 1e-5), (1.0, 1.0 + 1.1e-5), (1e-9, 0.0), (0.0, 0.0), (-2.0, -2.0)):
        decays = 2 * abs(old - new) <= tolerance * (abs(old) + abs(new) + 1e-4)
        decays = decays and not old == new == 0
        assert score_run([old, new])[-1] == (factor if decays else 1.0), (old, new)


def test_a_layer_may_leave_the_score_alone() -> None:
    none = fs.LayerConfiguration(learning_rate_policy=fs.LearningRatePolicy("None"))
    assert score_run([3.0, 3.0], layers={"0": none}) == [1.0, 1.0]


def test_a_step_that_moves_nothing_leaves_the_rate() -> None:
    """0.8 stops there for want of a direction, before it looks at the score."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(1.0),
        semantics="dl4j-0.8",
        learning_rate_policy=fs.LearningRatePolicy("Score", decay_rate=0.5),
    )
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2)})
    solver = fs.StochasticGradientDescent(updater, lambda: (3.0, {"0_W": np.zeros(2)}))
    for _ in range(3):
        solver.optimize()
    assert updater.learning_rate("0_W") == 1.0


def test_a_decayed_rate_is_state(tmp_path: Any) -> None:
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(1.0),
        semantics="dl4j-0.8",
        learning_rate_policy=fs.LearningRatePolicy("Score", decay_rate=0.25),
    )
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2), "1_W": np.ones(2)})
    assert updater.apply_learning_rate_score_decay() == 2
    updater.save(tmp_path / "run.safetensors")
    loaded = fs.load_updater(tmp_path / "run.safetensors")
    assert loaded.learning_rate("1_W") == 0.25 + float(np.float32(1e-5))
    assert loaded == updater
    plain = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": np.ones(2)})
    assert plain.apply_learning_rate_score_decay() == 0
