/* Checking a document and copying it in one walk: parquedb.rows.values.checked_copy.
 *
 * O(size of the document). What is measured is exactly what Python measures.
 */

#include "core.h"
#include <datetime.h>

static PyObject *copy_value(PyObject *value, int depth, Py_ssize_t *size);

int begin_copy(void)
{
    PyDateTime_IMPORT;
    return PyDateTimeAPI == NULL ? -1 : 0;
}

/* Return how many bits an int of 64 bit has, its sign not counted; -1 for longer ones. */
static int bits_of(PyObject *value)
{
    int overflow;
    long long found = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow) {
        return -1;
    }
    unsigned long long rest = found < 0 ? 0ULL - (unsigned long long)found : (unsigned long long)found;
    int bits = 0;
    for (int step = 32; step; step /= 2) {
        if (rest >> step) {
            rest >>= step;
            bits += step;
        }
    }
    return bits + (int)rest;
}

/* Return the size of a value that stays as it is; -1 where Python is to decide. */
static Py_ssize_t measure_atom(PyObject *value)
{
    if (PyUnicode_CheckExact(value)) {
        Py_ssize_t size;
        return utf8_of(value, &size) == NULL ? -1 : size + 2;
    }
    if (PyLong_CheckExact(value)) {
        int bits = bits_of(value);
        return bits < 0 ? -1 : (bits >> 2) + 1;
    }
    if (PyFloat_CheckExact(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        return number == number ? 3 : -1;
    }
    if (value == Py_None || PyBool_Check(value)) {
        return 4;
    }
    if (PyDateTime_CheckExact(value)) {
        return is_common_time(value) ? 32 : -1;
    }
    if (PyDate_CheckExact(value)) {
        return 21;
    }
    if (PyBytes_CheckExact(value)) {
        return PyBytes_GET_SIZE(value) * 4 / 3 + 12;
    }
    return -1;
}

static PyObject *copy_dict(PyObject *given, int depth, Py_ssize_t *size)
{
    if (depth > MAX_DEPTH) {
        return NULL;
    }
    PyObject *copy = PyDict_Copy(given);
    if (copy == NULL) {
        return NULL;
    }
    Py_ssize_t total = 1, at = 0;
    PyObject *key, *value;
    while (PyDict_Next(copy, &at, &key, &value)) {
        Py_ssize_t inner;
        if (!PyUnicode_CheckExact(key) || utf8_of(key, &inner) == NULL) {
            goto leave;
        }
        PyObject *own = copy_value(value, depth + 1, &inner);
        if (own == NULL) {
            goto leave;
        }
        int failed = own == value ? 0 : PyDict_SetItem(copy, key, own);
        Py_DECREF(own);
        total += PyUnicode_GET_LENGTH(key) + 4 + inner;
        if (failed || total > MAX_SIZE_BYTES) {
            goto leave;
        }
    }
    *size = total;
    return copy;
leave:
    Py_DECREF(copy);
    return NULL;
}

/* Return the size of a list of ints only, for which Python has a formula of its own.
 *
 * -1 for other lists, and where Python is to decide.
 */
static Py_ssize_t measure_ints(PyObject *items)
{
    Py_ssize_t count = PyList_GET_SIZE(items), bits = 0;
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *value = PyList_GET_ITEM(items, at);
        int more = PyLong_CheckExact(value) ? bits_of(value) : -1;
        if (more < 0) {
            return -1;
        }
        bits += more;
    }
    Py_ssize_t tenths = (bits - count) * 3;
    Py_ssize_t tens = tenths / 10 - (tenths % 10 < 0); /* rounded down */
    return count + tens + 1;
}

static PyObject *copy_list(PyObject *given, int depth, Py_ssize_t *size)
{
    if (depth > MAX_DEPTH) {
        return NULL;
    }
    PyObject *copy = PyList_GetSlice(given, 0, PyList_GET_SIZE(given));
    if (copy == NULL) {
        return NULL;
    }
    Py_ssize_t total = 1, count = PyList_GET_SIZE(copy), ints = measure_ints(copy);
    if (ints >= 0 && count) {
        *size = ints;
        return copy;
    }
    for (Py_ssize_t at = 0; at < count; at++) {
        Py_ssize_t inner;
        PyObject *value = PyList_GET_ITEM(copy, at);
        PyObject *own = copy_value(value, depth + 1, &inner);
        if (own == NULL) {
            goto leave;
        }
        if (own == value) {
            Py_DECREF(own);
        }
        else {
            PyList_SetItem(copy, at, own); /* which takes it */
        }
        total += inner + 1;
        if (total > MAX_SIZE_BYTES) {
            goto leave;
        }
    }
    *size = total;
    return copy;
leave:
    Py_DECREF(copy);
    return NULL;
}

/* Return a value's own copy, or the value where nothing in it can change. */
static PyObject *copy_value(PyObject *value, int depth, Py_ssize_t *size)
{
    if (PyDict_CheckExact(value)) {
        return copy_dict(value, depth, size);
    }
    if (PyList_CheckExact(value)) {
        return copy_list(value, depth, size);
    }
    Py_ssize_t found = measure_atom(value);
    if (found < 0) {
        return NULL;
    }
    *size = found;
    return Py_NewRef(value);
}

PyObject *copy_document(PyObject *Py_UNUSED(module), PyObject *document)
{
    Py_ssize_t size = 0;
    PyObject *copy = is_common(document, 0) ? copy_dict(document, 0, &size) : NULL;
    if (copy == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    return Py_BuildValue("(Nn)", copy, size);
}
