/* What the parts of parquedb._core share.
 *
 * Each function does what a Python function does, for the values that most documents have, and
 * declines all others: then Python decides, and says what is wrong. A part that declines returns
 * NULL without an exception. Only values of exactly the built-in types are touched, so no code of
 * anybody else runs in between.
 */

#ifndef PARQUEDB_CORE_H
#define PARQUEDB_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define MAX_DEPTH 100            /* as parquedb.rows.values.MAX_DEPTH */
#define MAX_SIZE_BYTES (16 << 20) /* as parquedb.rows.values.MAX_SIZE_BYTES */

/* Return how many bytes a text takes in UTF-8; -1 where it holds half of a surrogate pair. */
Py_ssize_t text_size(PyObject *text);

/* Whether a key stays as it is at the top of a document, though it begins with a dollar. */
int is_system_key(PyObject *key);

/* Functions of the module; each takes one argument. */
PyObject *copy_document(PyObject *module, PyObject *document);
PyObject *encode_document(PyObject *module, PyObject *document);
PyObject *restore_document(PyObject *module, PyObject *parsed);

/* Make the type RowReader; -1 with an exception where that fails. */
int add_row_reader(PyObject *module);

/* Get the functions of datetime for one part each; -1 with an exception where that fails. */
int begin_copy(void);
int begin_encode(void);
int begin_restore(void);

#endif
