#include "error.h"

#include <string_view>

namespace rapt::python {

namespace nb = nanobind;

void bind_error(nb::module_& m) {
  const nb::object type = nb::steal(PyErr_NewExceptionWithDoc(
      "rapt.Error",
      "What rapt refuses: \"where: expected ..., got ...\".\n\n"
      "`code` is one of bad_argument, bad_shape, unsupported, bad_file, io and out_of_memory.",
      PyExc_ValueError, nullptr));
  m.attr("Error") = type;
  nb::register_exception_translator(
      [](const std::exception_ptr& p, void* type) {
        try {
          std::rethrow_exception(p);
        } catch (const Error& e) {
          const std::string_view what = e.what();  // may quote bytes of a file that are no UTF-8
          const nb::object text = nb::steal(PyUnicode_DecodeUTF8(
              what.data(), static_cast<Py_ssize_t>(what.size()), "backslashreplace"));
          const nb::object error = nb::handle(static_cast<PyObject*>(type))(text);
          error.attr("code") = name(e.code());
          PyErr_SetObject(static_cast<PyObject*>(type), error.ptr());
        }
      },
      nb::object(type).release().ptr());
}

}  // namespace rapt::python
