"""Where independent jobs run; knows nothing of coalitions. See :mod:`groupshap.engines.base`."""
