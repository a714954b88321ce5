/* A document as JSON: parquedb.rows.jsonform.encode_document.
 *
 * O(size of the document). Python encodes where a document holds anything but null, booleans, ints
 * of 64 bit, finite floats, texts, times in UTC or without a zone, days, lists and objects.
 */

#include "core.h"
#include <datetime.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LONG_FLOATS 8        /* with more of them another way is faster */
#define LONG_TEXT (64 << 10) /* letters; likewise */

typedef struct {
    char *data;
    size_t used;
    size_t room;
    int floats; /* of which all digits were asked for */
} Text;

static int put_value(Text *text, PyObject *value, int depth);

int begin_encode(void)
{
    PyDateTime_IMPORT;
    return PyDateTimeAPI == NULL ? -1 : 0;
}

/* Make room for more bytes; -1 with an exception where there is none. */
static int reserve(Text *text, size_t more)
{
    if (text->used + more <= text->room) {
        return 0;
    }
    size_t room = (text->used + more) * 2;
    char *data = PyMem_Realloc(text->data, room);
    if (data == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    text->data = data;
    text->room = room;
    return 0;
}

static int put(Text *text, const char *bytes, size_t count)
{
    if (reserve(text, count) < 0) {
        return -1;
    }
    memcpy(text->data + text->used, bytes, count);
    text->used += count;
    return 0;
}

/* Write a letter that JSON escapes; there is room. */
static char *put_escaped(char *out, Py_UCS4 letter)
{
    static const char digits[] = "0123456789abcdef";
    const char *names = "\"\"\\\\\bb\tt\nn\ff\rr";
    for (; *names; names += 2) {
        if ((Py_UCS4)(unsigned char)*names == letter) {
            *out++ = '\\';
            *out++ = names[1];
            return out;
        }
    }
    memcpy(out, "\\u00", 4);
    out[4] = digits[letter >> 4];
    out[5] = digits[letter & 15];
    return out + 6;
}

/* Write a letter beyond ASCII in UTF-8; NULL for half of a surrogate pair. There is room. */
static char *put_wide(char *out, Py_UCS4 letter)
{
    if (letter < 0x800) {
        *out++ = (char)(0xC0 | letter >> 6);
    }
    else if (letter < 0x10000) {
        if (letter >= 0xD800 && letter <= 0xDFFF) {
            return NULL;
        }
        *out++ = (char)(0xE0 | letter >> 12);
        *out++ = (char)(0x80 | (letter >> 6 & 0x3F));
    }
    else {
        *out++ = (char)(0xF0 | letter >> 18);
        *out++ = (char)(0x80 | (letter >> 12 & 0x3F));
        *out++ = (char)(0x80 | (letter >> 6 & 0x3F));
    }
    *out++ = (char)(0x80 | (letter & 0x3F));
    return out;
}

/* Write a text in quotes, with a dollar in front where it is a key that needs one. */
static int put_text(Text *text, PyObject *value, int escaped)
{
    Py_ssize_t count = PyUnicode_GET_LENGTH(value);
    int kind = PyUnicode_KIND(value);
    const void *data = PyUnicode_DATA(value);
    if (count > LONG_TEXT || reserve(text, (size_t)count * 6 + 3) < 0) {
        return -1;
    }
    char *out = text->data + text->used;
    *out++ = '"';
    if (escaped) {
        *out++ = '$';
    }
    for (Py_ssize_t at = 0; at < count; at++) {
        Py_UCS4 letter = PyUnicode_READ(kind, data, at);
        if (letter >= 0x80) {
            out = put_wide(out, letter);
            if (out == NULL) {
                return -1;
            }
        }
        else if (letter < 0x20 || letter == '"' || letter == '\\') {
            out = put_escaped(out, letter);
        }
        else {
            *out++ = (char)letter;
        }
    }
    *out++ = '"';
    text->used = (size_t)(out - text->data);
    return 0;
}

static int put_int(Text *text, PyObject *value)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow) {
        return -1;
    }
    char digits[24];
    char *end = digits + sizeof digits, *out = end;
    unsigned long long rest =
        number < 0 ? 0ULL - (unsigned long long)number : (unsigned long long)number;
    do {
        *--out = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (number < 0) {
        *--out = '-';
    }
    return put(text, out, (size_t)(end - out));
}

/* Write a float that few digits say exactly; 1 where they do not.
 *
 * A whole number below 10^15 divided by a power of ten up to 10^6 is rounded once, as reading its
 * text is: so the text is read as the same float. At most 15 digits, hence the shortest text.
 */
static int put_short_float(Text *text, double number)
{
    static const double powers[] = {1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6};
    double size = fabs(number);
    if (FLT_EVAL_METHOD != 0 || size >= 1e9 || (size < 1e-3 && size != 0.0)) {
        return 1;
    }
    for (int places = 0; places < 7; places++) {
        double scaled = nearbyint(size * powers[places]);
        if (scaled / powers[places] != size) {
            continue;
        }
        unsigned long long digits = (unsigned long long)scaled;
        char written[32];
        char *end = written + sizeof written, *out = end;
        int after = places ? places : 1;
        if (places == 0) {
            digits *= 10;
        }
        do {
            *--out = (char)('0' + digits % 10);
            digits /= 10;
            if (--after == 0) {
                *--out = '.';
            }
        } while (digits || after >= 0);
        if (signbit(number)) {
            *--out = '-';
        }
        return put(text, out, (size_t)(end - out));
    }
    return 1;
}

static int put_float(Text *text, double number)
{
    if (!isfinite(number)) {
        return -1;
    }
    int done = put_short_float(text, number);
    if (done <= 0) {
        return done;
    }
    if (++text->floats > LONG_FLOATS) {
        return -1;
    }
    char *digits = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (digits == NULL) {
        return -1;
    }
    done = put(text, digits, strlen(digits));
    PyMem_Free(digits);
    return done;
}

static char *put_digits(char *out, int number, int count)
{
    for (int at = count - 1; at >= 0; at--) {
        out[at] = (char)('0' + number % 10);
        number /= 10;
    }
    return out + count;
}

static char *put_day(char *out, PyObject *value)
{
    out = put_digits(out, PyDateTime_GET_YEAR(value), 4);
    *out++ = '-';
    out = put_digits(out, PyDateTime_GET_MONTH(value), 2);
    *out++ = '-';
    return put_digits(out, PyDateTime_GET_DAY(value), 2);
}

static int put_datetime(Text *text, PyObject *value)
{
    PyObject *zone = PyDateTime_DATE_GET_TZINFO(value);
    int is_utc = zone == PyDateTime_TimeZone_UTC;
    if (!is_utc && zone != Py_None) {
        return -1;
    }
    if (reserve(text, 64) < 0) {
        return -1;
    }
    char *out = text->data + text->used;
    const char *tag = is_utc ? "{\"$date\":\"" : "{\"$local\":\"";
    size_t length = strlen(tag);
    memcpy(out, tag, length);
    out = put_day(out + length, value);
    *out++ = 'T';
    out = put_digits(out, PyDateTime_DATE_GET_HOUR(value), 2);
    *out++ = ':';
    out = put_digits(out, PyDateTime_DATE_GET_MINUTE(value), 2);
    *out++ = ':';
    out = put_digits(out, PyDateTime_DATE_GET_SECOND(value), 2);
    int micros = PyDateTime_DATE_GET_MICROSECOND(value);
    if (micros) {
        *out++ = '.';
        out = put_digits(out, micros, 6);
    }
    if (is_utc) {
        *out++ = 'Z';
    }
    *out++ = '"';
    *out++ = '}';
    text->used = (size_t)(out - text->data);
    return 0;
}

static int put_date(Text *text, PyObject *value)
{
    char written[32] = "{\"$day\":\"";
    char *out = put_day(written + strlen(written), value);
    *out++ = '"';
    *out++ = '}';
    return put(text, written, (size_t)(out - written));
}

int is_system_key(PyObject *key)
{
    return PyUnicode_CompareWithASCIIString(key, "$id") == 0
           || PyUnicode_CompareWithASCIIString(key, "$type") == 0;
}

static int put_dict(Text *text, PyObject *value, int depth)
{
    if (depth > MAX_DEPTH + 1 || put(text, "{", 1) < 0) {
        return -1;
    }
    Py_ssize_t at = 0;
    PyObject *key, *item;
    int is_first = 1;
    while (PyDict_Next(value, &at, &key, &item)) {
        if (!PyUnicode_CheckExact(key) || (!is_first && put(text, ",", 1) < 0)) {
            return -1;
        }
        is_first = 0;
        int dollar = PyUnicode_GET_LENGTH(key) && PyUnicode_READ_CHAR(key, 0) == '$';
        if (put_text(text, key, dollar && (depth || !is_system_key(key))) < 0
            || put(text, ":", 1) < 0 || put_value(text, item, depth + 1) < 0) {
            return -1;
        }
    }
    return put(text, "}", 1);
}

static int put_list(Text *text, PyObject *value, int depth)
{
    if (depth > MAX_DEPTH + 1 || put(text, "[", 1) < 0) {
        return -1;
    }
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(value); at++) {
        if ((at && put(text, ",", 1) < 0)
            || put_value(text, PyList_GET_ITEM(value, at), depth + 1) < 0) {
            return -1;
        }
    }
    return put(text, "]", 1);
}

/* Write a value; -1 without an exception where Python is to encode the document. */
static int put_value(Text *text, PyObject *value, int depth)
{
    if (PyUnicode_CheckExact(value)) {
        return put_text(text, value, 0);
    }
    if (PyLong_CheckExact(value)) {
        return put_int(text, value);
    }
    if (PyFloat_CheckExact(value)) {
        return put_float(text, PyFloat_AS_DOUBLE(value));
    }
    if (PyDict_CheckExact(value)) {
        return put_dict(text, value, depth);
    }
    if (PyList_CheckExact(value)) {
        return put_list(text, value, depth);
    }
    if (value == Py_None) {
        return put(text, "null", 4);
    }
    if (PyBool_Check(value)) {
        return value == Py_True ? put(text, "true", 4) : put(text, "false", 5);
    }
    if (PyDateTime_CheckExact(value)) {
        return put_datetime(text, value);
    }
    return PyDate_CheckExact(value) ? put_date(text, value) : -1;
}

PyObject *encode_document(PyObject *Py_UNUSED(module), PyObject *document)
{
    Text text = {PyMem_Malloc(1024), 0, 1024, 0};
    if (text.data == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *found = NULL;
    if (PyDict_CheckExact(document) && put_dict(&text, document, 0) == 0) {
        found = PyBytes_FromStringAndSize(text.data, (Py_ssize_t)text.used);
    }
    else if (!PyErr_Occurred()) {
        found = Py_NewRef(Py_None);
    }
    PyMem_Free(text.data);
    return found;
}
