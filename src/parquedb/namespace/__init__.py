"""A namespace that is being written: its tables, its journal, the tail and the flush."""
