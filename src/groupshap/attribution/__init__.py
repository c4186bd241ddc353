"""From the table of utilities to credit: Shapley values per property as tables and pictures."""
