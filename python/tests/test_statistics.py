"""Statistics over texts against scipy, and against published figures."""

import numpy as np
import pytest
from scipy import stats

import rapt


def test_published_figures():
    maize = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]  # Darwin's, by Fisher
    assert rapt.sign_flip_p(maize) == 1726 / 32768
    assert rapt.sign_flip_p(np.array(maize, np.float64), tail="above") == 863 / 32768
    assert rapt.texts_needed(32) == 11
    with pytest.raises(rapt.Error, match="both or above, got below"):
        rapt.sign_flip_p(maize, tail="below")


def test_those_of_scipy():
    rng = np.random.default_rng(1)
    p = rng.uniform(size=40) ** 2
    np.testing.assert_allclose(rapt.benjamini_hochberg(p), stats.false_discovery_control(p))
    for ties in (False, True):
        a, b = rng.standard_normal((2, 30))
        if ties:
            a, b = a.round(), (a + b).round()
        assert rapt.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    x = rng.standard_normal(12) + 0.5
    exact = stats.permutation_test((x,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert rapt.sign_flip_p(x) == pytest.approx(exact.pvalue)
    more = rng.standard_normal(30) + 0.3
    near = stats.permutation_test(
        (more,), np.mean, permutation_type="samples", n_resamples=20000, rng=2
    )
    assert rapt.sign_flip_p(more) == pytest.approx(near.pvalue, abs=0.01)
    interval = stats.bootstrap((more,), np.mean, method="percentile", rng=3).confidence_interval
    assert rapt.bootstrap_mean_interval(more) == pytest.approx(interval, abs=0.03)


def test_halves_agree_where_units_differ():
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((20, 13))
    units = np.arange(20)[:, None]
    assert rapt.split_half_correlation((noise + units).tolist()) > 0.95
    assert abs(rapt.split_half_correlation(noise.tolist())) < 0.5
