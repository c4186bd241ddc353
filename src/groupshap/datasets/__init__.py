"""Kedro datasets of this project: all input and output lies here."""
