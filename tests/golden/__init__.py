"""Golden tables: what Spark writes, carried and compared at every version."""
