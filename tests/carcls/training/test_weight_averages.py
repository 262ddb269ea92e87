import keras
import numpy as np

from carcls.training.weight_averages import EMA_DECAYS, LAST_EPOCHS, WeightAverages


def test_averages_follow_the_steps_and_the_epochs():
    variable = keras.Variable(np.zeros(2, np.float32))
    averages = WeightAverages([variable])
    values = [np.array([step, -step], np.float32) for step in range(1, 9)]
    for step, value in enumerate(values):
        variable.assign(value)
        averages.on_train_batch_end(step)
        if step % 2:
            averages.end_epoch()
    named = averages.by_name()
    assert named.keys() == {f"ema-{decay}" for decay in EMA_DECAYS} | {f"last-{count}" for count in LAST_EPOCHS}
    for decay in EMA_DECAYS:
        expected = values[0]
        for value in values[1:]:
            expected = decay * expected + (1 - decay) * value
        np.testing.assert_allclose(named[f"ema-{decay}"][0], expected, rtol=1e-5)
    np.testing.assert_allclose(named["last-3"][0], np.mean([values[3], values[5], values[7]], axis=0))
    np.testing.assert_allclose(named["last-5"][0], np.mean(values[1::2], axis=0), err_msg="there are four")


def test_an_average_keeps_its_values_when_the_weights_change():
    variable = keras.Variable(np.ones(1, np.float32))
    averages = WeightAverages([variable])
    averages.on_train_batch_end(0)
    averages.end_epoch()
    variable.assign(np.full(1, 9.0, np.float32))
    assert {name: weights[0].tolist() for name, weights in averages.by_name().items()} == {
        name: [1.0] for name in averages.by_name()
    }
