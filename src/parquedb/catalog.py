"""Tables as pyiceberg catalogs see them."""
