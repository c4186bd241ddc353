import numpy as np

from groupshap.games import estimate, is_converged, plan_coalitions

amounts = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])  # what six people bring
noise = np.random.default_rng(0)


def measure(members):  # the expensive part: members is a row of True and False
    return 1.0 - np.exp(-(members @ amounts) / 10.0) + noise.normal(scale=0.01)


coalitions = plan_coalitions(n_players=6, budget=32, seed=0)
utilities = [measure(members) for members in coalitions]  # in any order, on any machine
values = estimate(coalitions, utilities)
print(values.table(["ann", "ben", "cleo", "dora", "emil", "fay"]))
print("precise enough:", is_converged(values, 0.1))
