"""What operators of aggregation expressions do, by kind; :mod:`.table` has them all."""
