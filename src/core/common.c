/* What documents mostly hold: whether one is for the compiled part, found before any work.
 *
 * O(values in the document). Nothing is allocated, so nothing changes meanwhile.
 */

#include "core.h"
#include <datetime.h>
#include <float.h>
#include <math.h>

#define MOST_VALUES (1 << 20) /* a list twice in a list, at each of sixty levels, has no end */
#define MOST_FLOATS 8         /* orjson is faster with more of them */
#define LONG_FLOATS 2         /* likewise; of which all digits are asked for */

typedef struct {
    int is_for_json;
    int floats;
    int long_floats;
    Py_ssize_t values;
} Look;

static int is_common_value(PyObject *value, Look *look, int depth);

int begin_common(void)
{
    PyDateTime_IMPORT;
    return PyDateTimeAPI == NULL ? -1 : 0;
}

int is_common_time(PyObject *value)
{
    PyObject *zone = PyDateTime_DATE_GET_TZINFO(value);
    return (zone == PyDateTime_TimeZone_UTC || zone == Py_None)
           && !PyDateTime_DATE_GET_FOLD(value);
}

static int is_common_float(double number, Look *look)
{
    unsigned long long digits;
    int places;
    if (!look->is_for_json) {
        return 1;
    }
    if (!isfinite(number) || ++look->floats > MOST_FLOATS) {
        return 0;
    }
    return find_short(number, &digits, &places) || ++look->long_floats <= LONG_FLOATS;
}

/* Whether a value is of a kind that is done here whatever it is. */
static int is_plain(PyObject *value)
{
    return PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || value == Py_None
           || PyBool_Check(value);
}

static int is_common_dict(PyObject *value, Look *look, int depth)
{
    Py_ssize_t at = 0;
    PyObject *key, *item;
    look->values += PyDict_GET_SIZE(value);
    while (PyDict_Next(value, &at, &key, &item)) {
        if (!is_plain(item) && !is_common_value(item, look, depth + 1)) {
            return 0;
        }
    }
    return look->values <= MOST_VALUES;
}

static int is_common_list(PyObject *value, Look *look, int depth)
{
    Py_ssize_t count = PyList_GET_SIZE(value);
    look->values += count;
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *item = PyList_GET_ITEM(value, at);
        if (!is_plain(item) && !is_common_value(item, look, depth + 1)) {
            return 0;
        }
    }
    return look->values <= MOST_VALUES;
}

static int is_common_value(PyObject *value, Look *look, int depth)
{
    if (PyFloat_CheckExact(value)) {
        return is_common_float(PyFloat_AS_DOUBLE(value), look);
    }
    if (PyDict_CheckExact(value)) {
        return depth <= MAX_DEPTH && is_common_dict(value, look, depth);
    }
    if (PyList_CheckExact(value)) {
        return depth <= MAX_DEPTH && is_common_list(value, look, depth);
    }
    if (PyDateTime_CheckExact(value)) {
        return is_common_time(value);
    }
    return PyDate_CheckExact(value) || (PyBytes_CheckExact(value) && !look->is_for_json);
}

int is_common(PyObject *document, int is_for_json)
{
    Look look = {is_for_json, 0, 0, 0};
    return PyDict_CheckExact(document) && is_common_dict(document, &look, 0);
}

const char *utf8_of(PyObject *text, Py_ssize_t *size)
{
    const char *found = PyUnicode_AsUTF8AndSize(text, size);
    if (found == NULL && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Clear();
    }
    return found;
}

int has_dollar(PyObject *key, int depth)
{
    if (PyUnicode_GET_LENGTH(key) == 0 || PyUnicode_READ_CHAR(key, 0) != '$') {
        return 0;
    }
    return depth || (PyUnicode_CompareWithASCIIString(key, "$id") != 0
                     && PyUnicode_CompareWithASCIIString(key, "$type") != 0);
}

/* A whole number below 10^15 divided by a power of ten up to 10^6 is rounded once, as reading its
 * text is: so the text is read as the same float. At most 15 digits, hence the shortest text.
 */
int find_short(double number, unsigned long long *digits, int *places)
{
    static const double powers[] = {1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6};
    double size = fabs(number);
    if (FLT_EVAL_METHOD != 0 || size >= 1e9 || (size < 1e-3 && size != 0.0)) {
        return 0;
    }
    for (*places = 0; *places < 7; (*places)++) {
        double scaled = nearbyint(size * powers[*places]);
        if (scaled / powers[*places] == size) {
            *digits = (unsigned long long)scaled;
            return 1;
        }
    }
    return 0;
}
