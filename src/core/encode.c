/* A document as JSON: parquedb.rows.jsonform.encode_document.
 *
 * O(size of the document). Python encodes where a document holds anything but null, booleans, ints
 * of 64 bit, finite floats, texts, times in UTC or without a zone, days, lists and objects.
 */

#include "core.h"
#include <datetime.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LONG_TEXT (1 << 20) /* bytes; six times as many are asked for, in case all are escaped */

typedef struct {
    char *data;
    size_t used;
    size_t room;
} Text;

static int put_value(Text *text, PyObject *value, int depth);

int begin_encode(void)
{
    PyDateTime_IMPORT;
    return PyDateTimeAPI == NULL ? -1 : 0;
}

/* Make room for more bytes; -1 with an exception where there is none. */
static inline int reserve(Text *text, size_t more)
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

static inline int put(Text *text, const char *bytes, size_t count)
{
    if (reserve(text, count) < 0) {
        return -1;
    }
    memcpy(text->data + text->used, bytes, count);
    text->used += count;
    return 0;
}

/* Return how many bytes of UTF-8 stand in JSON as they are, from the first on.
 *
 * Eight are looked at in one: less a byte, only one that is lower has its highest bit set anew.
 * https://graphics.stanford.edu/~seander/bithacks.html, "Determine if a word has a byte less than n".
 */
static size_t count_plain(const char *bytes, size_t count)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    size_t at = 0;
    for (; at + 8 <= count; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        uint64_t quotes = word ^ ones * '"', slashes = word ^ ones * '\\';
        uint64_t found = ((word - ones * 0x20) & ~word) | ((quotes - ones) & ~quotes)
                         | ((slashes - ones) & ~slashes);
        if (found & ones * 0x80) {
            break;
        }
    }
    while (at < count && (unsigned char)bytes[at] >= 0x20 && bytes[at] != '"' && bytes[at] != '\\') {
        at++;
    }
    return at;
}

/* Write a byte that JSON escapes; there is room. */
static char *put_escaped(char *out, char byte)
{
    static const char digits[] = "0123456789abcdef";
    for (const char *names = "\"\"\\\\\bb\tt\nn\ff\rr"; *names; names += 2) {
        if (*names == byte) {
            *out++ = '\\';
            *out++ = names[1];
            return out;
        }
    }
    memcpy(out, "\\u00", 4);
    out[4] = digits[byte >> 4];
    out[5] = digits[byte & 15];
    return out + 6;
}

/* Write a text in quotes, with a dollar in front where it is a key that needs one. */
static int put_text(Text *text, PyObject *value, int is_escaped)
{
    Py_ssize_t size;
    const char *bytes = utf8_of(value, &size);
    if (bytes == NULL || size > LONG_TEXT || reserve(text, (size_t)size * 6 + 3) < 0) {
        return -1;
    }
    char *out = text->data + text->used;
    *out++ = '"';
    if (is_escaped) {
        *out++ = '$';
    }
    for (const char *end = bytes + size;;) {
        size_t plain = count_plain(bytes, (size_t)(end - bytes));
        memcpy(out, bytes, plain);
        out += plain;
        bytes += plain;
        if (bytes == end) {
            break;
        }
        out = put_escaped(out, *bytes++);
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

/* Write a float of which few digits are known. */
static int put_short_float(Text *text, unsigned long long digits, int places, int is_negative)
{
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
    if (is_negative) {
        *--out = '-';
    }
    return put(text, out, (size_t)(end - out));
}

static int put_float(Text *text, double number)
{
    unsigned long long few;
    int places;
    if (!isfinite(number)) {
        return -1;
    }
    if (find_short(number, &few, &places)) {
        return put_short_float(text, few, places, signbit(number) != 0);
    }
    char *digits = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (digits == NULL) {
        return -1;
    }
    int failed = put(text, digits, strlen(digits));
    PyMem_Free(digits);
    return failed;
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
    if (!is_common_time(value) || reserve(text, 64) < 0) {
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

static int put_dict(Text *text, PyObject *value, int depth)
{
    if (depth > MAX_DEPTH || put(text, "{", 1) < 0) {
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
        if (put_text(text, key, has_dollar(key, depth)) < 0 || put(text, ":", 1) < 0
            || put_value(text, item, depth + 1) < 0) {
            return -1;
        }
    }
    return put(text, "}", 1);
}

static int put_list(Text *text, PyObject *value, int depth)
{
    if (depth > MAX_DEPTH || put(text, "[", 1) < 0) {
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
    if (!is_common(document, 1)) {
        return Py_NewRef(Py_None);
    }
    Text text = {PyMem_Malloc(1024), 0, 1024};
    if (text.data == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *found = NULL;
    if (put_dict(&text, document, 0) == 0) {
        found = PyBytes_FromStringAndSize(text.data, (Py_ssize_t)text.used);
    }
    else if (!PyErr_Occurred()) {
        found = Py_NewRef(Py_None);
    }
    PyMem_Free(text.data);
    return found;
}
