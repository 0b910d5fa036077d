#include "spec.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "errors.h"

namespace ivf::datasets {

namespace {

struct FormatEntry {
  std::string_view name;
  Format format;
  bool extension;  ///< Whether `.name` at the end of a path means this format.
};

constexpr std::array<FormatEntry, 14> kFormats{{
    {"fvecs", Format::fvecs, true},
    {"bvecs", Format::bvecs, true},
    {"ivecs", Format::ivecs, true},
    {"fbin", Format::fbin, true},
    {"u8bin", Format::u8bin, true},
    {"i8bin", Format::i8bin, true},
    {"ibin", Format::ibin, true},
    {"gt", Format::ground_truth, false},
    {"npy", Format::npy, true},
    {"h5", Format::hdf5, true},
    {"hdf5", Format::hdf5, true},
    {"gaussian", Format::gaussian, false},
    {"uniform", Format::uniform, false},
    {"clustered", Format::clustered, false},
}};

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

const FormatEntry* find_format(std::string_view name) {
  const auto* found =
      std::find_if(kFormats.begin(), kFormats.end(), [&](const FormatEntry& entry) { return entry.name == name; });
  return found == kFormats.end() ? nullptr : found;
}

const FormatEntry* extension_format(std::string_view path) {
  const std::size_t dot = path.rfind('.');
  const std::size_t slash = path.rfind('/');
  if (dot == std::string_view::npos || (slash != std::string_view::npos && dot < slash)) return nullptr;
  const FormatEntry* entry = find_format(lower(path.substr(dot + 1)));
  return entry != nullptr && entry->extension ? entry : nullptr;
}

/// Position of the colon in `file.h5:name`, or npos. The first one counts: an HDF5 name may hold colons too.
std::size_t hdf5_colon(std::string_view text) {
  for (std::size_t colon = text.find(':'); colon != std::string_view::npos; colon = text.find(':', colon + 1)) {
    const FormatEntry* entry = extension_format(text.substr(0, colon));
    if (entry != nullptr && entry->format == Format::hdf5) return colon;
  }
  return std::string_view::npos;
}

void split(Spec& spec, std::string_view rest, std::size_t colon) {
  spec.path = rest.substr(0, colon);
  if (colon == std::string_view::npos) return;
  spec.dataset = rest.substr(colon + 1);
  if (spec.dataset.empty()) throw misuse("'{}' ends in a colon; name a data set after it, or drop it", spec.text);
}

}  // namespace

Spec parse_spec(const std::string& text) {
  Spec spec;
  spec.text = text;
  if (text.empty()) throw misuse("the name of a data source or destination is empty; give a path");
  if (text == "-") {
    spec.path = text;
    return spec;
  }
  const std::size_t first = text.find(':');
  const FormatEntry* prefix =
      first == std::string::npos ? nullptr : find_format(std::string_view(text).substr(0, first));
  if (prefix != nullptr) {
    spec.format = prefix->format;
    const std::string_view rest = std::string_view(text).substr(first + 1);
    if (spec.format == Format::hdf5) {
      const std::size_t colon = hdf5_colon(rest);
      split(spec, rest, colon != std::string_view::npos ? colon : rest.rfind(':'));
    } else if (spec.format == Format::ground_truth) {
      const std::size_t colon = rest.rfind(':');
      const std::string_view half = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
      split(spec, rest, half == "ids" || half == "distances" ? colon : std::string_view::npos);
    } else {
      spec.path = rest;
    }
    if (spec.path.empty() && !spec.is_generated()) {
      throw misuse("'{}' names a format but no path; write {}:PATH, or {}:- for a pipe", text, prefix->name,
                   prefix->name);
    }
    return spec;
  }
  const std::size_t colon = hdf5_colon(text);
  if (colon != std::string::npos) {
    spec.format = Format::hdf5;
    split(spec, text, colon);
    return spec;
  }
  const FormatEntry* entry = extension_format(text);
  if (entry == nullptr) {
    throw misuse(
        "'{}' has no extension that tells its format; known are .fvecs .bvecs .ivecs .fbin .u8bin .i8bin .ibin .npy "
        ".h5 "
        ".hdf5; or put the format first, as in fvecs:{} (gt: for big-ann ground truth)",
        text, text);
  }
  spec.format = entry->format;
  spec.path = text;
  return spec;
}

std::optional<Element> format_element(Format format) noexcept {
  switch (format) {
    case Format::bvecs:
    case Format::u8bin:
      return Element::u8;
    case Format::i8bin:
      return Element::i8;
    case Format::ivecs:
    case Format::ibin:
      return Element::i32;
    case Format::npy:
    case Format::hdf5:
    case Format::ground_truth:
      return std::nullopt;
    default:
      return Element::f32;
  }
}

const char* format_name(Format format) noexcept {
  for (const FormatEntry& entry : kFormats) {
    if (entry.format == format) return entry.name.data();
  }
  return "unknown";
}

bool is_hdf5(std::string_view text) {
  try {
    return parse_spec(std::string(text)).format == Format::hdf5;
  } catch (const Error&) {
    return false;
  }
}

std::string path_of(const std::string& text) {
  try {
    const Spec spec = parse_spec(text);
    return spec.is_generated() ? text : spec.path;
  } catch (const Error&) {
    return text;
  }
}

std::optional<Element> fixed_element(const std::string& spec) { return format_element(parse_spec(spec).format); }

}  // namespace ivf::datasets
