"""Documents as rows of a table: values, their JSON form, and the way to Arrow and back."""
