/* Rows of Arrow columns as documents: the columns of parquedb.rows.single.RowReader.
 *
 * https://arrow.apache.org/docs/format/Columnar.html, "Physical memory layout". What a buffer must
 * hold is compared with its length before anything is read: once for cells, at each row for texts
 * and lists, whose length is data.
 */

#include "core.h"
#include <datetime.h>
#include <stdint.h>
#include <string.h>

#define DAY_US INT64_C(86400000000)
#define MIN_US INT64_C(-62135596800000000) /* 0001-01-01 */
#define MAX_US INT64_C(253402300799999999) /* 9999-12-31 */

/* How a column is read. Values are the letters that Python gives. */
enum kind {
    INT64 = 'q',
    INT32 = 'i',
    FLOAT64 = 'd',
    BOOL = '?',
    INSTANT = 't',
    TEXT = 's',
    LARGE_TEXT = 'S',
    BINARY = 'b',
    LARGE_BINARY = 'B',
    STRUCT = '{',
    LIST = '[',
    OTHER = '(', /* a function of Python reads it */
};

typedef struct Column {
    PyObject *name; /* NULL for the elements of a list */
    int kind;
    Py_ssize_t offset; /* where its rows begin in the buffers */
    Py_ssize_t length; /* how many there are */
    Py_buffer valid;   /* a bit each; none where all are */
    Py_buffer cells;   /* numbers, bits, or where texts and lists begin */
    Py_buffer bytes;   /* of texts */
    PyObject *read;    /* Python's way; NULL where none is needed */
    struct Column *children;
    Py_ssize_t count;
} Column;

typedef struct {
    PyObject_HEAD
    Column root; /* a struct without nulls */
} RowReader;

static PyObject *read_value(const Column *column, Py_ssize_t row);

static void release(Column *column)
{
    for (Py_ssize_t at = 0; at < column->count; at++) {
        release(&column->children[at]);
    }
    PyMem_Free(column->children);
    PyBuffer_Release(&column->valid);
    PyBuffer_Release(&column->cells);
    PyBuffer_Release(&column->bytes);
    Py_XDECREF(column->name);
    Py_XDECREF(column->read);
}

/* Return how many bits a cell has, 0 for kinds that have none. */
static Py_ssize_t cell_bits(int kind)
{
    switch (kind) {
    case INT64:
    case FLOAT64:
    case INSTANT:
    case LARGE_TEXT:
    case LARGE_BINARY:
        return 64;
    case INT32:
    case TEXT:
    case BINARY:
    case LIST:
        return 32;
    case BOOL:
        return 1;
    default:
        return 0;
    }
}

static int is_offsets(int kind)
{
    return kind == TEXT || kind == BINARY || kind == LIST || kind == LARGE_TEXT
           || kind == LARGE_BINARY;
}

/* Whether a buffer has some cells. */
static int holds(const Py_buffer *buffer, Py_ssize_t cells, Py_ssize_t bits)
{
    return cells == 0 || (buffer->buf != NULL && cells <= buffer->len * 8 / bits);
}

static int get_buffer(PyObject *given, Py_buffer *buffer)
{
    return given == Py_None ? 0 : PyObject_GetBuffer(given, buffer, PyBUF_SIMPLE);
}

static int fill(Column *column, PyObject *given);

static int fill_children(Column *column, PyObject *given)
{
    Py_ssize_t count = PyTuple_GET_SIZE(given);
    column->children = PyMem_Calloc((size_t)count + 1, sizeof(Column));
    if (column->children == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (; column->count < count; column->count++) {
        Column *child = &column->children[column->count];
        int failed = fill(child, PyTuple_GET_ITEM(given, column->count));
        if (!failed && column->kind == STRUCT && child->length < column->length) {
            PyErr_SetString(PyExc_ValueError, "a member has too few rows");
            failed = -1;
        }
        if (failed) {
            release(child);
            return -1;
        }
    }
    return 0;
}

/* Take a column as Python describes it; what is wrong with it is a ValueError. */
static int fill(Column *column, PyObject *given)
{
    PyObject *name, *valid, *cells, *bytes, *read, *children;
    if (!PyTuple_Check(given)
        || !PyArg_ParseTuple(given, "OCnnOOOOO!", &name, &column->kind, &column->offset,
                             &column->length, &valid, &cells, &bytes, &read, &PyTuple_Type,
                             &children)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "a column is a tuple");
        }
        return -1;
    }
    column->name = Py_NewRef(name);
    column->read = read == Py_None ? NULL : Py_NewRef(read);
    if (column->offset < 0 || column->length < 0 || get_buffer(valid, &column->valid) < 0
        || get_buffer(cells, &column->cells) < 0 || get_buffer(bytes, &column->bytes) < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "a column begins before its buffers");
        }
        return -1;
    }
    Py_ssize_t bits = cell_bits(column->kind);
    int fits = column->length < PY_SSIZE_T_MAX - column->offset;
    if (fits) {
        Py_ssize_t end = column->offset + column->length;
        fits = column->valid.buf == NULL || holds(&column->valid, end, 1);
        if (bits && column->length) {
            fits = fits && holds(&column->cells, end + is_offsets(column->kind), bits);
        }
    }
    int is_whole = (bits || column->kind == STRUCT || (column->kind == OTHER && column->read))
                   && (PyTuple_GET_SIZE(children) == 1 || column->kind != LIST)
                   && (column->kind != INSTANT || column->read);
    if (!fits || !is_whole) {
        PyErr_SetString(PyExc_ValueError, "a column's buffers are too short, or of no known kind");
        return -1;
    }
    return fill_children(column, children);
}

static int is_null(const Column *column, Py_ssize_t row)
{
    if (column->valid.buf == NULL) {
        return 0;
    }
    Py_ssize_t place = column->offset + row;
    return !(((const unsigned char *)column->valid.buf)[place >> 3] >> (place & 7) & 1);
}

static int64_t cell64(const Column *column, Py_ssize_t row)
{
    int64_t found;
    memcpy(&found, (const char *)column->cells.buf + (column->offset + row) * 8, sizeof found);
    return found;
}

static int32_t cell32(const Column *column, Py_ssize_t row)
{
    int32_t found;
    memcpy(&found, (const char *)column->cells.buf + (column->offset + row) * 4, sizeof found);
    return found;
}

/* Get where a text or list begins and ends; -1 with an exception where it is not in `most`. */
static int get_range(const Column *column, Py_ssize_t row, int is_large, Py_ssize_t most,
                     Py_ssize_t *start, Py_ssize_t *end)
{
    int64_t first = is_large ? cell64(column, row) : cell32(column, row);
    int64_t last = is_large ? cell64(column, row + 1) : cell32(column, row + 1);
    if (first < 0 || last < first || last > most) {
        PyErr_SetString(PyExc_ValueError, "a text or list is not within its column");
        return -1;
    }
    *start = (Py_ssize_t)first;
    *end = (Py_ssize_t)last;
    return 0;
}

static PyObject *read_bytes(const Column *column, Py_ssize_t row, int is_large, int is_text)
{
    Py_ssize_t start, end;
    if (get_range(column, row, is_large, column->bytes.len, &start, &end) < 0) {
        return NULL;
    }
    const char *data = start == end ? "" : (const char *)column->bytes.buf + start;
    return is_text ? PyUnicode_DecodeUTF8(data, end - start, NULL)
                   : PyBytes_FromStringAndSize(data, end - start);
}

/* Return a time in microseconds since 1970 as a datetime in UTC; Python says what is out of range.
 *
 * The date of a day: https://howardhinnant.github.io/date_algorithms.html, "civil_from_days".
 */
static PyObject *read_instant(const Column *column, Py_ssize_t row)
{
    int64_t micros = cell64(column, row);
    if (micros < MIN_US || micros > MAX_US) {
        return PyObject_CallFunction(column->read, "n", row);
    }
    int64_t days = micros / DAY_US, rest = micros % DAY_US;
    if (rest < 0) {
        rest += DAY_US;
        days -= 1;
    }
    int64_t since = days + 719468; /* since 0000-03-01 */
    int64_t era = since / 146097;  /* of 400 years; never negative from year 1 on */
    int64_t day = since - era * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    int64_t of_year = day - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153; /* from March on */
    int of_month = (int)(of_year - (153 * month + 2) / 5 + 1);
    int calendar_month = (int)(month < 10 ? month + 3 : month - 9);
    int calendar_year = (int)(year + era * 400 + (calendar_month <= 2));
    int64_t seconds = rest / 1000000;
    return PyDateTimeAPI->DateTime_FromDateAndTime(
        calendar_year, calendar_month, of_month, (int)(seconds / 3600), (int)(seconds / 60 % 60),
        (int)(seconds % 60), (int)(rest % 1000000), PyDateTime_TimeZone_UTC,
        PyDateTimeAPI->DateTimeType);
}

/* Return a struct as a dict; members that are null are missing. */
static PyObject *read_struct(const Column *column, Py_ssize_t row)
{
    PyObject *found = PyDict_New();
    for (Py_ssize_t at = 0; found != NULL && at < column->count; at++) {
        const Column *child = &column->children[at];
        PyObject *value = read_value(child, row);
        if (value == NULL || (value != Py_None && PyDict_SetItem(found, child->name, value) < 0)) {
            Py_CLEAR(found);
        }
        Py_XDECREF(value);
    }
    return found;
}

static PyObject *read_list(const Column *column, Py_ssize_t row)
{
    const Column *child = &column->children[0];
    Py_ssize_t start, end;
    if (get_range(column, row, 0, child->length, &start, &end) < 0) {
        return NULL;
    }
    PyObject *found = PyList_New(end - start);
    for (Py_ssize_t at = start; found != NULL && at < end; at++) {
        PyObject *value = read_value(child, at);
        if (value == NULL) {
            Py_CLEAR(found);
        }
        else {
            PyList_SET_ITEM(found, at - start, value);
        }
    }
    return found;
}

static PyObject *read_double(const Column *column, Py_ssize_t row)
{
    double found;
    memcpy(&found, (const char *)column->cells.buf + (column->offset + row) * 8, sizeof found);
    return PyFloat_FromDouble(found);
}

static PyObject *read_value(const Column *column, Py_ssize_t row)
{
    if (is_null(column, row)) {
        return Py_NewRef(Py_None);
    }
    switch (column->kind) {
    case INT64:
        return PyLong_FromLongLong(cell64(column, row));
    case INT32:
        return PyLong_FromLong(cell32(column, row));
    case FLOAT64:
        return read_double(column, row);
    case BOOL: {
        Py_ssize_t place = column->offset + row;
        return PyBool_FromLong(
            ((const unsigned char *)column->cells.buf)[place >> 3] >> (place & 7) & 1);
    }
    case INSTANT:
        return read_instant(column, row);
    case TEXT:
    case LARGE_TEXT:
        return read_bytes(column, row, column->kind == LARGE_TEXT, 1);
    case BINARY:
    case LARGE_BINARY:
        return read_bytes(column, row, column->kind == LARGE_BINARY, 0);
    case STRUCT:
        return read_struct(column, row);
    case LIST:
        return read_list(column, row);
    default:
        return PyObject_CallFunction(column->read, "n", row);
    }
}

static PyObject *reader_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    PyObject *columns;
    Py_ssize_t rows;
    static char *names[] = {"columns", "rows", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, named, "O!n", names, &PyTuple_Type, &columns, &rows)) {
        return NULL;
    }
    RowReader *self = (RowReader *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->root.kind = STRUCT;
    self->root.length = rows;
    if (fill_children(&self->root, columns) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void reader_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    release(&((RowReader *)self)->root);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *reader_read(PyObject *self, PyObject *given)
{
    const Column *root = &((RowReader *)self)->root;
    Py_ssize_t row = PyNumber_AsSsize_t(given, PyExc_IndexError);
    if (row == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (row < 0 || row >= root->length) {
        PyErr_Format(PyExc_IndexError, "there is no row %zd among %zd", row, root->length);
        return NULL;
    }
    return read_struct(root, row);
}

PyDoc_STRVAR(read_doc,
"read(row, /)\n--\n\n"
"Return the values of a row by name; those that are null are missing.");

static PyMethodDef reader_methods[] = {
    {"read", reader_read, METH_O, read_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(reader_doc,
"RowReader(columns, rows)\n--\n\n"
"Reads rows of Arrow columns; see parquedb.rows.single for how they are described.");

static PyType_Slot reader_slots[] = {
    {Py_tp_new, reader_new},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, reader_methods},
    {Py_tp_doc, (void *)reader_doc},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "parquedb._core.RowReader",
    .basicsize = sizeof(RowReader),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = reader_slots,
};

int add_row_reader(PyObject *module)
{
    PyDateTime_IMPORT;
    if (PyDateTimeAPI == NULL) {
        return -1;
    }
    PyObject *type = PyType_FromSpec(&reader_spec);
    if (type == NULL) {
        return -1;
    }
    int failed = PyModule_AddObjectRef(module, "RowReader", type);
    Py_DECREF(type);
    return failed;
}
