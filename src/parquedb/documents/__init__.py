"""Documents as users see them: schemas, ids, entities, updates, collections."""
