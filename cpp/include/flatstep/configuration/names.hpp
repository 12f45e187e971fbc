// Names of parameters: a slot's key with its two parts, and which parameter types are biases.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace flatstep {

/// A slot of the layout: its key ("0_W") and the two parts of it.
struct SlotName {
  std::string key;
  std::string layer;
  std::string param;
};

namespace detail {

constexpr bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Whether the letters of `word` stand there with no letter beside them.
constexpr bool has_word(std::string_view name, std::string_view word) {
  for (std::size_t at = name.find(word); at != std::string_view::npos;
       at = name.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || !is_letter(name[at - 1])) && (end == name.size() || !is_letter(name[end]))) {
      return true;
    }
  }
  return false;
}

}  // namespace detail

/// Whether a parameter type is a bias's, where the configuration does not list those that are:
///
///   b, or a name with the word bias or biases in it (bias, bias_ih_l0, in_proj_bias, hiddenBias);
///   b and digits, b and one or two letters, or b_ and anything (b1, bh, by, b_out), of an array with
///   at most one extent that is not 1.
/// @param shape of its array; empty where that is not known, and then it may be such a one
constexpr bool is_bias_name(std::string_view param, std::span<const std::size_t> shape) {
  if (param == "b" || detail::has_word(param, "bias") || detail::has_word(param, "biases") ||
      param.ends_with("Bias")) {
    return true;
  }
  if (!param.starts_with('b') || param.size() < 2) return false;
  const std::string_view rest = param.substr(1);
  const bool joined = rest.front() == '_' && rest.size() > 1;
  const bool numbered = std::ranges::all_of(rest, detail::is_digit);
  const bool lettered = rest.size() <= 2 && std::ranges::all_of(rest, detail::is_letter);
  const auto wide = std::ranges::count_if(shape, [](std::size_t extent) { return extent != 1; });
  return (joined || numbered || lettered) && wide <= 1;
}

}  // namespace flatstep
