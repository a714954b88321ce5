"""The neutral log: pure values and folds, no input or output."""
