// ParameterMemory: where a parameter's elements lie, and of what type they are.
#pragma once

#include <flatstep/kernels/storage_kernels.hpp>

#include <cstddef>
#include <span>
#include <type_traits>

namespace flatstep {

/// A parameter as its owner has it: its elements may be of another type than T.
template <class T>
class ParameterMemory {
 public:
  ParameterMemory() = default;
  ParameterMemory(void* data, std::size_t size, ElementType type)
      : data_(data), size_(size), type_(type) {}
  ParameterMemory(std::span<bfloat16> elements)
      : ParameterMemory(elements.data(), elements.size(), ElementType::bfloat16) {}
  ParameterMemory(std::span<float16> elements)
      : ParameterMemory(elements.data(), elements.size(), ElementType::float16) {}
  template <class Range>
    requires std::is_convertible_v<Range&, std::span<T>>
  ParameterMemory(Range&& range)
      : ParameterMemory(std::span<T>(range).data(), std::span<T>(range).size(), ElementType::same) {
  }

  void* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  ElementType type() const { return type_; }
  std::size_t bytes() const { return size_ * bytes_of(type_, sizeof(T)); }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
  ElementType type_ = ElementType::same;
};

}  // namespace flatstep
