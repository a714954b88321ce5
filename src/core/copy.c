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

Py_ssize_t text_size(PyObject *text)
{
    Py_ssize_t count = PyUnicode_GET_LENGTH(text);
    if (PyUnicode_IS_ASCII(text)) {
        return count;
    }
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    Py_ssize_t size = 0;
    for (Py_ssize_t at = 0; at < count; at++) {
        Py_UCS4 letter = PyUnicode_READ(kind, data, at);
        if (letter < 0x80) {
            size += 1;
        }
        else if (letter < 0x800) {
            size += 2;
        }
        else if (letter >= 0xD800 && letter <= 0xDFFF) {
            return -1;
        }
        else {
            size += letter < 0x10000 ? 3 : 4;
        }
    }
    return size;
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
    while (rest) {
        bits++;
        rest >>= 1;
    }
    return bits;
}

/* Return the size of a value that stays as it is; -1 where Python is to decide. */
static Py_ssize_t measure_atom(PyObject *value)
{
    if (PyUnicode_CheckExact(value)) {
        Py_ssize_t size = text_size(value);
        return size < 0 ? -1 : size + 2;
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
        PyObject *zone = PyDateTime_DATE_GET_TZINFO(value);
        int is_normal = (zone == PyDateTime_TimeZone_UTC || zone == Py_None)
                        && !PyDateTime_DATE_GET_FOLD(value);
        return is_normal ? 32 : -1;
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
        if (!PyUnicode_CheckExact(key) || text_size(key) < 0) {
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

/* Return the size of a list of ints only, for which Python has a formula of its own. */
static Py_ssize_t measure_ints(PyObject *items)
{
    Py_ssize_t count = PyList_GET_SIZE(items), bits = 0;
    for (Py_ssize_t at = 0; at < count; at++) {
        bits += bits_of(PyList_GET_ITEM(items, at));
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
    Py_ssize_t total = 1, count = PyList_GET_SIZE(copy), ints = 0;
    for (Py_ssize_t at = 0; at < count; at++) {
        Py_ssize_t inner;
        PyObject *value = PyList_GET_ITEM(copy, at);
        PyObject *own = copy_value(value, depth + 1, &inner);
        if (own == NULL) {
            goto leave;
        }
        ints += PyLong_CheckExact(value);
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
    *size = count && ints == count ? measure_ints(copy) : total;
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
    PyObject *copy = PyDict_CheckExact(document) ? copy_dict(document, 0, &size) : NULL;
    if (copy == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    return Py_BuildValue("(Nn)", copy, size);
}
