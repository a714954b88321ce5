/* parquedb._core: what single writes and gets do most often, compiled. */

#include "core.h"

PyDoc_STRVAR(copy_document_doc,
"copy_document(document, /)\n--\n\n"
"Return what parquedb.rows.values.checked_copy does, None where Python is to decide.");

PyDoc_STRVAR(encode_document_doc,
"encode_document(document, /)\n--\n\n"
"Return what parquedb.rows.jsonform.encode_document does, None where Python is to decide.");

PyDoc_STRVAR(restore_document_doc,
"restore_document(parsed, /)\n--\n\n"
"Return what parquedb.rows.jsonform.restore_document does, with `parsed` used up; None where\n"
"Python is to go on with it.");

static PyMethodDef functions[] = {
    {"copy_document", copy_document, METH_O, copy_document_doc},
    {"encode_document", encode_document, METH_O, encode_document_doc},
    {"restore_document", restore_document, METH_O, restore_document_doc},
    {NULL, NULL, 0, NULL},
};

static int begin(PyObject *module)
{
    if (begin_common() < 0 || begin_copy() < 0 || begin_encode() < 0 || begin_restore() < 0) {
        return -1;
    }
    return add_row_reader(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, begin},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "parquedb._core",
    .m_doc = "What single writes and gets do most often, compiled.",
    .m_size = 0,
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
