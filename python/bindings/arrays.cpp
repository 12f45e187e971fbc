// NumPy arrays at the border: what is taken as it is, and what is refused by name.
#include "arrays.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace py = pybind11;

namespace flatstep::python {
namespace {

constexpr int c_order = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_;
constexpr int f_order = py::detail::npy_api::NPY_ARRAY_F_CONTIGUOUS_;
constexpr int aligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
constexpr int writable = py::detail::npy_api::NPY_ARRAY_WRITEABLE_;

template <class T>
constexpr const char* dtype_name = sizeof(T) == 4 ? "float32" : "float64";

const py::detail::PyArray_Proxy* proxy(py::handle array) {
  return py::detail::array_proxy(array.ptr());
}

std::string quoted(const std::string& key) { return '"' + key + '"'; }

std::string dtype_of(py::handle array) { return std::string(py::str(array.attr("dtype"))); }

std::string text(const std::vector<py::ssize_t>& shape) {
  std::string list;
  for (const auto extent : shape) list += (list.empty() ? "" : ", ") + std::to_string(extent);
  if (shape.size() == 1) list += ',';
  return '(' + list + ')';
}

std::vector<py::ssize_t> shape_of(py::handle array) {
  const auto* p = proxy(array);
  return {p->dimensions, p->dimensions + p->nd};
}

/// numpy.ma.MaskedArray, as long-lived as NumPy.
PyTypeObject* masked_array() {
  static PyObject* const type =
      py::object(py::module_::import("numpy").attr("ma").attr("MaskedArray")).release().ptr();
  return reinterpret_cast<PyTypeObject*>(type);
}

/// What to do with something that is no array.
const char* array_remedy(py::handle object) {
  if (py::detail::npy_api::get().PyArray_Check_(object.ptr())) {
    return "; fill it (filled()) or give its data";
  }
  const bool is_scalar = py::isinstance(object, py::module_::import("numpy").attr("generic"));
  if (!is_scalar && (py::hasattr(object, "__dlpack__") || PyObject_CheckBuffer(object.ptr()))) {
    return "; flatstep.as_views wraps what shares its memory with NumPy";
  }
  if (py::isinstance<py::dict>(object)) {
    return "; names nest two deep, {layer: {parameter: array}}: join the outer ones";
  }
  if (PyNumber_Check(object.ptr()) != 0 || PySequence_Check(object.ptr()) != 0) {
    return "; make it one with np.array, of the parameters' dtype";
  }
  return "";
}

void require_array(py::handle object, const std::string& what) {
  if (is_array(object)) return;
  throw py::type_error(what + ": expected a NumPy array, got " +
                       std::string(py::str(py::type::handle_of(object).attr("__name__"))) +
                       array_remedy(object));
}

template <class T>
bool has_dtype(py::handle array) {
  // The descriptor is nearly always NumPy's own for native float32 or float64.
  PyObject* const descriptor = proxy(array)->descr;
  static PyObject* const native = py::dtype::of<T>().release().ptr();
  return descriptor == native || py::detail::npy_api::get().PyArray_EquivTypes_(descriptor, native);
}

/// ml_dtypes.bfloat16: known by its name, since only who uses it has that package. Its descriptor lives
/// as long as the process.
bool is_bfloat16(PyObject* descriptor) {
  static PyObject* known = nullptr;
  if (descriptor == known) return true;
  const auto dtype = py::reinterpret_borrow<py::dtype>(descriptor);
  if (dtype.itemsize() != 2 || std::string(py::str(dtype.attr("name"))) != "bfloat16") return false;
  if (known == nullptr) known = py::object(dtype).release().ptr();
  return true;
}

/// Of which type an array's elements are, for T; none where T does not go with them.
template <class T>
std::optional<ElementType> element_type(py::handle array) {
  if (has_dtype<T>(array)) return ElementType::same;
  if constexpr (sizeof(T) == sizeof(double)) {
    if (has_dtype<float>(array)) return ElementType::float32;
  } else {
    static PyObject* const half = py::dtype("float16").release().ptr();
    PyObject* const descriptor = proxy(array)->descr;
    if (descriptor == half || py::detail::npy_api::get().PyArray_EquivTypes_(descriptor, half)) {
      return ElementType::float16;
    }
    if (is_bfloat16(descriptor)) return ElementType::bfloat16;
  }
  return {};
}

std::string conversion(const char* dtype) { return std::string(".astype(np.") + dtype + ")"; }

template <class T>
void require_dtype(py::handle array, const std::string& what) {
  if (has_dtype<T>(array)) return;
  throw py::type_error(what + ": expected dtype " + dtype_name<T> + ", got " + dtype_of(array) +
                       "; convert it with " + conversion(dtype_name<T>));
}

/// What is updated is the array that is given, not what it was made from.
constexpr const char* keep = " and keep the result";

void require_memory(py::handle array, const std::string& what, bool written, const char* then) {
  const int flags = proxy(array)->flags;
  if ((flags & (c_order | f_order)) == 0) {
    throw py::value_error(what +
                          ": expected a C- or F-contiguous array, got a strided one; make it "
                          "contiguous with np.ascontiguousarray" +
                          then);
  }
  if ((flags & aligned) == 0) {
    throw py::value_error(what +
                          ": expected an aligned array, got one at an odd address; copy it "
                          "with np.array(…, copy=True)" +
                          then);
  }
  if (written && (flags & writable) == 0) {
    throw py::value_error(what +
                          ": expected a writable array, got a read-only one; copy it with "
                          "np.array(…, copy=True)" +
                          then);
  }
}

}  // namespace

bool is_array(py::handle object) {
  if (is_plain_array(object)) return true;
  // A masked array's mask would be passed over. Asked of the type itself: isinstance asks the
  // object for its __class__, which may be a property and do anything.
  return py::detail::npy_api::get().PyArray_Check_(object.ptr()) &&
         PyType_IsSubtype(Py_TYPE(object.ptr()), masked_array()) == 0;
}

TakenArray::TakenArray(py::handle array)
    : array_(array.ptr()),
      data_(proxy(array)->data),
      descriptor_(proxy(array)->descr),
      dimensions_(proxy(array)->nd),
      flags_(proxy(array)->flags),
      extents_{0, 0} {
  if (dimensions_ == 1 || dimensions_ == 2) {
    std::copy_n(proxy(array)->dimensions, 2, extents_);
  } else {
    dimensions_ = -1;
  }
}

std::string TakenArray::change_of(const ArrayForm& form, bool written) const {
  const auto* const now = py::detail::array_proxy(array_);
  const auto shape = shape_of(array_);
  if (shape != form.shape) return "shape " + text(shape);
  if (now->descr != descriptor_) return "dtype " + dtype_of(array_);
  const int order = (form.c_contiguous ? c_order : 0) | (form.f_contiguous ? f_order : 0);
  if ((now->flags & order) != order) return "other strides";
  if (now->data != data_ || (now->flags & aligned) == 0) return "it at another address";
  if (written && (now->flags & writable) == 0) return "a read-only one";
  return {};
}

bool is_float64(py::handle array, const std::string& key) {
  require_array(array, "parameter " + quoted(key));
  if (has_dtype<double>(array)) return true;
  if (element_type<float>(array)) return false;
  const auto dtype = py::dtype::from_args(array.attr("dtype"));
  const bool is_wide = dtype.kind() == 'f' && dtype.itemsize() >= 8;
  throw py::type_error("parameter " + quoted(key) + ": expected dtype float32 or float64, got " +
                       dtype_of(array) + "; convert it with " +
                       conversion(is_wide ? "float64" : "float32") + keep);
}

template <class T>
ParameterMemory<T> parameter_memory(py::handle array, const std::string& key) {
  const std::string what = "parameter " + quoted(key);
  require_array(array, what);
  const std::optional<ElementType> type = element_type<T>(array);
  if (!type || type == ElementType::float32) {
    throw py::type_error(what + ": expected dtype " + dtype_name<T> +
                         ", that of the first parameter, got " + dtype_of(array) +
                         "; convert it with " + conversion(dtype_name<T>) + keep +
                         " (one dtype per updater)");
  }
  require_memory(array, what, true, keep);
  return {proxy(array)->data,
          static_cast<std::size_t>(py::reinterpret_borrow<py::array>(array).size()), *type};
}

ArrayForm form_of(py::handle array, std::string key) {
  const int flags = proxy(array)->flags;
  return {std::move(key), shape_of(array), (flags & c_order) != 0, (flags & f_order) != 0};
}

namespace {

template <class Shape>
bool has_form(py::handle array, const Shape& shape, int order) {
  const auto* p = proxy(array);
  const int needed = aligned | order;
  return (p->flags & needed) == needed && static_cast<std::size_t>(p->nd) == shape.size() &&
         std::equal(
             shape.begin(), shape.end(), p->dimensions,
             [](auto expected, py::ssize_t extent) { return std::cmp_equal(expected, extent); });
}

template <class T, class Shape>
T* memory_if(py::handle array, const Shape& shape, int order) {
  if (!has_form(array, shape, order) || !has_dtype<T>(array)) return nullptr;
  return reinterpret_cast<T*>(proxy(array)->data);
}

int order_of(const ArrayForm& form) {
  return (form.c_contiguous ? c_order : 0) | (form.f_contiguous ? f_order : 0);
}

/// Throws for what is no gradient of that form, whatever it is.
template <class T>
[[noreturn]] void refuse_gradient(py::handle array, const ArrayForm& form, bool written,
                                  bool has_legal_dtype);

}  // namespace

template <class T>
T* memory_of(py::handle array, const ArrayForm& form) {
  return memory_if<T>(array, form.shape, order_of(form));
}

template <class T>
T* memory_of(py::handle array, std::span<const std::size_t> shape, bool column_major) {
  return memory_if<T>(array, shape, column_major ? f_order : c_order);
}

template <class T>
T* gradient_memory(py::handle array, const ArrayForm& form, bool written) {
  if (is_array(array) && (!written || (proxy(array)->flags & writable) != 0)) {
    // The usual case, without a text or a temporary.
    if (T* const memory = memory_of<T>(array, form)) return memory;
  }
  refuse_gradient<T>(array, form, written, is_array(array) && has_dtype<T>(array));
}

template <class T>
T* gradient_memory(py::handle array, const ArrayForm& form, bool written, ElementType& type) {
  const bool serves = is_array(array) && (!written || (proxy(array)->flags & writable) != 0) &&
                      has_form(array, form.shape, order_of(form));
  const std::optional<ElementType> found =
      is_array(array) ? element_type<T>(array) : std::optional<ElementType>{};
  if (!serves || !found) refuse_gradient<T>(array, form, written, found.has_value());
  type = *found;
  return reinterpret_cast<T*>(proxy(array)->data);
}

namespace {

template <class T>
void refuse_gradient(py::handle array, const ArrayForm& form, bool written, bool has_legal_dtype) {
  const std::string what = "gradient " + quoted(form.key);
  if (!is_array(array) && py::isinstance(array, py::module_::import("numpy").attr("generic"))) {
    throw py::type_error(what + ": expected an array of shape " + text(form.shape) +
                         ", that of the parameter, got a scalar of type " +
                         std::string(py::str(py::type::handle_of(array).attr("__name__"))) +
                         (form.shape.empty() ? "; make it an array with np.array"
                                             : "; sum or average over the batch alone (axis=0)"));
  }
  require_array(array, what);
  if (!has_legal_dtype) require_dtype<T>(array, what);
  if (const auto shape = shape_of(array); shape != form.shape) {
    const bool as_many = form.size() == ArrayForm{"", shape, true, true}.size();
    throw py::value_error(what + ": expected shape " + text(form.shape) +
                          ", that of the parameter, got " + text(shape) +
                          (as_many ? "; reshape or transpose it" : ""));
  }
  require_memory(array, what, written, "");
  throw py::value_error(what + ": expected " + (form.c_contiguous ? "C" : "F") +
                        "-contiguous memory, as the parameter has, got " +
                        (form.c_contiguous ? "F" : "C") + "-contiguous; convert it with " +
                        (form.c_contiguous ? "np.ascontiguousarray" : "np.asfortranarray"));
}

}  // namespace

template <class T>
py::array view(T* memory, const ArrayForm& form, py::handle owner) {
  std::vector<py::ssize_t> strides(form.shape.size());
  py::ssize_t stride = sizeof(T);
  for (std::size_t k = 0; k < strides.size(); ++k) {
    const std::size_t axis = form.c_contiguous ? strides.size() - 1 - k : k;
    strides[axis] = stride;
    stride *= form.shape[axis];
  }
  return py::array(py::dtype::of<T>(), form.shape, strides, memory, owner);
}

template ParameterMemory<float> parameter_memory<float>(py::handle, const std::string&);
template ParameterMemory<double> parameter_memory<double>(py::handle, const std::string&);
template std::uint8_t* memory_of<std::uint8_t>(py::handle, const ArrayForm&);
template std::uint16_t* memory_of<std::uint16_t>(py::handle, const ArrayForm&);
template float* gradient_memory<float>(py::handle, const ArrayForm&, bool, ElementType&);
template double* gradient_memory<double>(py::handle, const ArrayForm&, bool, ElementType&);
template py::array view<std::uint8_t>(std::uint8_t*, const ArrayForm&, py::handle);
template py::array view<std::uint16_t>(std::uint16_t*, const ArrayForm&, py::handle);
template float* memory_of<float>(py::handle, const ArrayForm&);
template double* memory_of<double>(py::handle, const ArrayForm&);
template float* memory_of<float>(py::handle, std::span<const std::size_t>, bool);
template double* memory_of<double>(py::handle, std::span<const std::size_t>, bool);
template float* gradient_memory<float>(py::handle, const ArrayForm&, bool);
template double* gradient_memory<double>(py::handle, const ArrayForm&, bool);
template py::array view<float>(float*, const ArrayForm&, py::handle);
template py::array view<double>(double*, const ArrayForm&, py::handle);

}  // namespace flatstep::python
