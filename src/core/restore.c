/* What JSON has no form for, back from its tags: parquedb.rows.jsonform.restore_document.
 *
 * O(size of the document). Instants, by far the most frequent, are put in place of their tags;
 * where there is another tag or an escaped key, Python does the rest: instants that are in place
 * by then are none of its business.
 */

#include "core.h"
#include <datetime.h>
#include <string.h>

enum outcome { FAILED = -1, DECLINED, RESTORED };

static enum outcome restore_value(PyObject *value, int depth);

int begin_restore(void)
{
    PyDateTime_IMPORT;
    return PyDateTimeAPI == NULL ? -1 : 0;
}

/* Return the number that some digits say; -1 where there is another letter among them. */
static int number_at(const char *digits, int count)
{
    int number = 0;
    for (int at = 0; at < count; at++) {
        if (digits[at] < '0' || digits[at] > '9') {
            return -1;
        }
        number = number * 10 + (digits[at] - '0');
    }
    return number;
}

/* Return the time of `2020-01-01T00:00:00[.000000]Z`; NULL without an exception for others. */
static PyObject *instant_of(PyObject *text)
{
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_ASCII(text)) {
        return NULL;
    }
    static const char form[] = "dddd-dd-ddTdd:dd:dd.ddddddZ";
    const char *letters = PyUnicode_DATA(text);
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    if ((length != 20 && length != 27) || letters[length - 1] != 'Z') {
        return NULL;
    }
    for (Py_ssize_t at = 0; at < length - 1; at++) {
        int is_digit = letters[at] >= '0' && letters[at] <= '9';
        if (form[at] == 'd' ? !is_digit : letters[at] != form[at]) {
            return NULL;
        }
    }
    PyObject *found = PyDateTimeAPI->DateTime_FromDateAndTime(
        number_at(letters, 4), number_at(letters + 5, 2), number_at(letters + 8, 2),
        number_at(letters + 11, 2), number_at(letters + 14, 2), number_at(letters + 17, 2),
        length == 27 ? number_at(letters + 20, 6) : 0, PyDateTime_TimeZone_UTC,
        PyDateTimeAPI->DateTimeType);
    if (found == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear(); /* Python says what is wrong with it */
    }
    return found;
}

/* Return the text of a dict that is an instant's tag, borrowed; NULL where it is none. */
static PyObject *tagged_instant(PyObject *value)
{
    Py_ssize_t at = 0;
    PyObject *key, *text;
    if (PyDict_GET_SIZE(value) != 1 || !PyDict_Next(value, &at, &key, &text)
        || !PyUnicode_CheckExact(key) || PyUnicode_CompareWithASCIIString(key, "$date") != 0) {
        return NULL;
    }
    return text;
}

/* Return what stands in place of a value: itself as a rule; NULL with `*outcome` where it fails. */
static PyObject *restored(PyObject *value, int depth, enum outcome *outcome)
{
    PyObject *text = PyDict_CheckExact(value) ? tagged_instant(value) : NULL;
    if (text == NULL) {
        *outcome = restore_value(value, depth);
        return *outcome == RESTORED ? Py_NewRef(value) : NULL;
    }
    PyObject *found = instant_of(text);
    *outcome = found != NULL ? RESTORED : PyErr_Occurred() ? FAILED : DECLINED;
    return found;
}

static enum outcome restore_dict(PyObject *items, int depth)
{
    Py_ssize_t at = 0;
    PyObject *key, *value;
    enum outcome outcome;
    while (PyDict_Next(items, &at, &key, &value)) {
        if (!PyUnicode_CheckExact(key) || has_dollar(key, depth)) {
            return DECLINED;
        }
        if (!PyDict_CheckExact(value) && !PyList_CheckExact(value)) {
            continue;
        }
        PyObject *own = restored(value, depth + 1, &outcome);
        if (own == NULL) {
            return outcome;
        }
        int failed = own == value ? 0 : PyDict_SetItem(items, key, own);
        Py_DECREF(own);
        if (failed) {
            return FAILED;
        }
    }
    return RESTORED;
}

static enum outcome restore_list(PyObject *items, int depth)
{
    enum outcome outcome;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(items); at++) {
        PyObject *value = PyList_GET_ITEM(items, at);
        if (!PyDict_CheckExact(value) && !PyList_CheckExact(value)) {
            continue;
        }
        PyObject *own = restored(value, depth + 1, &outcome);
        if (own == NULL) {
            return outcome;
        }
        if (own == value) {
            Py_DECREF(own);
        }
        else {
            PyList_SetItem(items, at, own); /* which takes it */
        }
    }
    return RESTORED;
}

static enum outcome restore_value(PyObject *value, int depth)
{
    if (depth > MAX_DEPTH) { /* as no document is; a thread's stack may be small */
        return DECLINED;
    }
    return PyDict_CheckExact(value) ? restore_dict(value, depth) : restore_list(value, depth);
}

PyObject *restore_document(PyObject *Py_UNUSED(module), PyObject *parsed)
{
    enum outcome outcome = PyDict_CheckExact(parsed) ? restore_dict(parsed, 0) : DECLINED;
    if (outcome == FAILED) {
        return NULL;
    }
    return Py_NewRef(outcome == RESTORED ? parsed : Py_None);
}
