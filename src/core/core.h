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

/* Whether all that is in a document is of kinds that are done here, and it is a dict.
 *
 * Kinds only are looked at, which takes a twentieth of what Python then takes: so little is lost
 * where it is to decide. What is done after that still declines what it finds too large, too deep,
 * or no Unicode.
 */
int is_common(PyObject *document, int is_for_json);

/* Whether a datetime is in UTC or without a zone, and stays as it is. */
int is_common_time(PyObject *value);

/* Return a text's UTF-8, which the text keeps, as it does for orjson.
 *
 * NULL without an exception where it holds half of a surrogate pair.
 */
const char *utf8_of(PyObject *text, Py_ssize_t *size);

/* Find the few digits that say a finite float exactly; 0 where there are none. */
int find_short(double number, unsigned long long *digits, int *places);

/* Whether a key begins with a dollar, and is none of the system's at the top of a document. */
int has_dollar(PyObject *key, int depth);

/* Functions of the module; each takes one argument. */
PyObject *copy_document(PyObject *module, PyObject *document);
PyObject *encode_document(PyObject *module, PyObject *document);
PyObject *restore_document(PyObject *module, PyObject *parsed);

/* Make the type RowReader; -1 with an exception where that fails. */
int add_row_reader(PyObject *module);

/* Get the functions of datetime for one part each; -1 with an exception where that fails. */
int begin_common(void);
int begin_copy(void);
int begin_encode(void);
int begin_restore(void);

#endif
