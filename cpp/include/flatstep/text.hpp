// Pieces of error texts: numbers that read as they were written, quoted names, lists of names.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

namespace flatstep::text {

/// The shortest of 6, 15 or 17 digits that reads back as `value`.
inline std::string number(double value) {
  char digits[32];
  for (const int precision : {6, 15, 17}) {
    std::snprintf(digits, sizeof digits, "%.*g", precision, value);
    if (std::strtod(digits, nullptr) == value) break;
  }
  return digits;
}

inline std::string quoted(std::string_view name) { return '"' + std::string(name) + '"'; }

/// "a", "b", "c"
template <class Names>
std::string quoted_list(const Names& names) {
  std::string list;
  for (const std::string_view name : names) {
    if (!list.empty()) list += ", ";
    list += text::quoted(name);  // not std::quoted
  }
  return list;
}

/// The place of `name` in `names`; throws std::invalid_argument, with the names, if it is none of
/// them.
template <class Names>
std::size_t place(std::string_view argument, const Names& names, std::string_view name) {
  std::size_t i = 0;
  for (const std::string_view candidate : names) {
    if (candidate == name) return i;
    ++i;
  }
  throw std::invalid_argument(std::string(argument) + ": expected " +
                              (i == 0 ? "no name" : "one of " + quoted_list(names)) + ", got " +
                              quoted(name));
}

}  // namespace flatstep::text
